"""The optimiser loop and its steps."""
