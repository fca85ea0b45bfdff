"""What a run leaves behind, written and read in one place."""
