"""Runs inside Triton's own environment: prepares the working folder, starts tritonserver, watches over it.

Imports the standard library only, never Overbook: the two live in different environments.
"""
