"""Model and Server manifests: what people write, checked field by field. Pure.

Lives here: the specs, Kubernetes quantities, YAML with line numbers, and every message about a
manifest that is wrong. Must not live here: reading files, the network, clocks, logging, or anything
that knows what the scheduler does with a manifest.
"""
