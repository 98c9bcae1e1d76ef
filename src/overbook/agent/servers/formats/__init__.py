"""Pure readers of model files: what a file says of its inputs and outputs, without the framework that made it.

No policy and no server's format may live here: what a reader finds is plain values, and what does not fit
raises `errors.FormatError`.
"""
