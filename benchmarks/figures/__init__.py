"""Figures of the docs, each drawn by a command of its own."""
