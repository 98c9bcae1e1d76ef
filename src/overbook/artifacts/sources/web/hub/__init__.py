"""Addresses of the Hugging Face Hub, `hf://OWNER/NAME[@REVISION][/PATH]`.

What an address says is read in `address`; the hub is asked by its own client in `client`, the only file that imports
it; `source` is what the rest of the house sees.
"""
