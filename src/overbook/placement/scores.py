"""Who should take a model, of those who may. An order, no numbers to tune."""

from __future__ import annotations

from overbook.placement.demand import ReplicaView


def preference(replica: ReplicaView) -> tuple[bool, int, int, str, int]:
    """Sort key, best first: holds it already, most room left, fewest models; then by name."""
    return (
        not replica.holds,
        replica.registered - replica.limit,
        replica.models,
        replica.id.server,
        replica.id.replica,
    )
