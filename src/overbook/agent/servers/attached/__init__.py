"""Inference servers that somebody else started: asked and fed as they are, and never ended."""
