"""The loop over tasks and what it needs."""
