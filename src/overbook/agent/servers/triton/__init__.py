"""Triton, started here: how a model's folder and config.pbtxt are made, and the processes that its models have.

Must not live here: the backends themselves, which are the runtime's plugin.
"""
