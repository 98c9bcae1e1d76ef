"""What people type and see.

Lives here: options, tables, exit codes, reading manifest files. Must not live here: what the parts
decide. It reaches a running Overbook through `client`, and starts one through `machine`. Commands are
imported when they are used, and import what is slow inside their functions.
"""
