"""Real servers that artifacts come from, as little processes on free ports. Shared by integration and end-to-end tests.

They run in an environment of their own (`make` sets it up from requirements.lock), or are packages of the system.
"""
