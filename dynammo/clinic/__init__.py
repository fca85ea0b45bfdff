"""Folders in, reports out; the server and its pages."""
