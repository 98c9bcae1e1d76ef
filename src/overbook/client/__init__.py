"""The control API and the data plane, as a person's program reaches them.

Lives here: HTTP and gRPC calls, and errors grouped by what the caller does next. Must not live here:
the parts themselves, printing, exit codes. Each module imports quickly or says why it does not.
"""
