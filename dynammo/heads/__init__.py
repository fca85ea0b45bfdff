"""Every kind of head, as pure functions of features and class statistics."""
