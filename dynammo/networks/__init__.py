"""Backbones, adapters, pooling and the two networks; nothing here knows of tasks."""
