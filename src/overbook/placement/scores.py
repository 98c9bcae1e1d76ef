"""Who should take a model, of those who may. An order, no numbers to tune."""

from __future__ import annotations

from overbook.placement.views import ModelDemand, ReplicaView


def preference(
    model: ModelDemand, replica: ReplicaView
) -> tuple[bool, bool, bool, bool, int, int, str, int]:
    """Sort key, best first: holds it already; its files are made for that runtime; the Server has no packages of its
    own, as what needs those asks for them; needs no process for it alone; most room left; fewest models; then by name.
    """
    return (
        not replica.holds,
        model.made_for not in ("", replica.runtime),
        replica.own_packages,
        bool(replica.own_process_for(model)),
        replica.registered - replica.limit,
        replica.models,
        replica.id.server,
        replica.id.replica,
    )
