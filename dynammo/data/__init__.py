"""Labelled images, tasks, exemplars, preprocessing."""
