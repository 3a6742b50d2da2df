"""What lies between a server and its devices on an untrusted network: who may in, and how.

Imports neither Flower nor PyTorch. The server's side is `gate.Gate` with a `registry.Registry`; the
device's side is `client.enrol` and `fetch.fetch_blob`. What an operator carries from one to the
other is a `bundle.JoinBundle`.
"""
