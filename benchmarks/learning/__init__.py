"""What the benchmark of learning is made of; `benchmarks/learning.py` runs it."""
