"""The configuration: pydantic sections, free of torch."""
