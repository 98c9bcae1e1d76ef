"""A model's files on this machine: where an address leads, what is there, and a checked copy of it.

Used by the scheduler, which looks, and by agents, which copy. Nothing here knows of memory, inference servers or
requests.
"""
