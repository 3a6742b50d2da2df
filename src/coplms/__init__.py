"""Co-tune a cloud LLM and devices' SLMs through a distilled proxy model."""
