"""Language models: loading, adapters, slicing, the mini zoo."""
