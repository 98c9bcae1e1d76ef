"""The artifacts of this replica's models on local disk: fetched, checked, shared by content, kept over restarts;
and what kind of thing each is.

Nothing here knows of memory or of inference servers, but for the readers of formats that lie beside the latter.
"""
