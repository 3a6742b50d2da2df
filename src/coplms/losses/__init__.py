"""Losses: tensors in, tensors out, no models and no texts."""
