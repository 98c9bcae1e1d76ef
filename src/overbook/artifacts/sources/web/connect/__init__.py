"""One request over HTTP: which addresses it may go to, how it gets there, and what its failure means.

Nothing here tries again, keeps a file, or knows what is asked for.
"""
