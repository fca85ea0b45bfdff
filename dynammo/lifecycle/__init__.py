"""Learn, forget, combine, history."""
