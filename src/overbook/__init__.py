"""Overbook: serve more models than fit in memory."""

__version__ = "0.1.0"
