"""What goes wrong in the gateway, grouped by what the catcher does next."""

from __future__ import annotations


class GatewayStartFailed(Exception):
    """The gateway cannot start as configured: show the message, a retry will not help."""


class PortInUse(GatewayStartFailed):
    """Another program listens where clients should connect."""


class EnvoyUnavailable(Exception):
    """Envoy does not answer right now: it is starting again; try later."""


class SnapshotRejected(Exception):
    """Envoy refused a cluster. A fault of ours; the message has Envoy's words."""
