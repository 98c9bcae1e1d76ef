"""Benchmarks of a running Overbook: `python -m bench`, or `make bench`, which installs what they need.

Each measures Overbook beside something it can be compared with, in one run and by turns, and says what
the target is and whether it is met. The simulator of residency policies is another thing: see
`overbook.simulator`. Nothing here is imported by Overbook itself.
"""
