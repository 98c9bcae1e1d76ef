"""Certificates and keys as files: made for a start, read, checked, followed when they change, and what sockets are
given of them.

Knows no part, no message and no command: who listens where, and with which files, is said from above.
"""
