"""Common classes and common places of two tokenizers."""
