"""Text: readers, partition, prompts."""
