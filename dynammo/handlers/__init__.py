"""The method: what acts at the events of the loop, one handler a file."""
