"""Public data sets, one module a set."""
