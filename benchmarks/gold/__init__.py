"""What `benchmarks/gold_step.py` compares SAML with: the GOLD loss of TRL."""
