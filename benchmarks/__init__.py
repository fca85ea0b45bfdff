"""Measures of speed, cost and accuracy: `python -m benchmarks ...`; beside the package, not part of it."""
