"""What an inference server needs to run: pinned requirements, its own environment, and our plugins for it.

Files below `<runtime>/plugin/` run inside that environment, never in ours, and import nothing of Overbook.
"""
