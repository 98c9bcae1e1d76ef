"""Runs inside MLServer's own environment: launcher, model repository, registry, import isolation.

Imports MLServer and the standard library, never Overbook: the two live in different environments.
"""
