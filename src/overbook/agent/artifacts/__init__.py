"""The artifacts of this replica's models on local disk: fetched, checked, shared by content, kept over restarts.

Nothing here knows of memory or of inference servers.
"""
