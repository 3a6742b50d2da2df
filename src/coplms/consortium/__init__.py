"""Members, messages, rounds, journal."""
