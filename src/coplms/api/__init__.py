"""A run from Python: `Consortium`."""
