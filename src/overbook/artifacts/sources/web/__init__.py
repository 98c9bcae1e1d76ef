"""Sources that are asked over HTTP by ourselves: plain addresses, a hub, a registry of images, a registry of models.

Each resolves an address to a list of files with an address each; `download` brings these, for all of them.
"""
