"""The Open Inference Protocol endpoints that need no loaded model, and the relay for gRPC streams.

Envoy sends here what would be wasteful or wrong to send to an inference server: health, metadata,
readiness and the repository index of all registered models, hot or cold. Nothing in this folder
loads, evicts or places a model, and unary inference never comes through it.
"""
