"""Messages as bytes, and what they cost."""
