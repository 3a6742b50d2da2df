"""What a round does."""
