"""Addresses of registries of images, `oci://HOST[:PORT]/REPOSITORY[:TAG|@sha256:…]`.

What an address says is read in `address`, and what a manifest says in `manifest`: both pure. The registry is asked by
`client`, the only file that imports oras; `layers` makes a folder of what was brought; `source` is what the rest of the
house sees.
"""
