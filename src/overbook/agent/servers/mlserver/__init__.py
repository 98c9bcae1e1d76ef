"""MLServer, started here: how a model's settings are made, what its environment has, and how its process is asked.

Must not live here: what MLServer itself runs of ours, which is the runtime's plugin.
"""
