"""What the app is made of; `main.py` puts it together."""

NOTICE = "Research software. Not a medical device."  # as dynammo, which is not installed here, has it
