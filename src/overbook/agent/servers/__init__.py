"""Adapters to inference servers behind one protocol (`protocol.InferenceServer`)."""
