"""The process of an inference server that is started here: its ports, its end, all that descends from it, and its
replacement by another.

Must not live here: what is particular to one kind of server.
"""
