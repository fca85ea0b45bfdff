"""Made-up data, runs and processes that several test files share."""
