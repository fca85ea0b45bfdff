"""What the app is made of; `main.py` puts it together."""
