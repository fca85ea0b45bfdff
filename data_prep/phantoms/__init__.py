"""Phantom images, drawn by a program: `python -m data_prep.phantoms`."""
