"""Who sits where, and the sums that follow from it: the one place where seats and their bytes change.

Every change keeps Σ registered per replica, the queue of waiting models and the `Changes` to publish in
step. No decisions: those are in `state`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from overbook.manifests.requirements import unmet
from overbook.placement import ModelDemand, ReplicaId, ReplicaView
from overbook.scheduler import pins
from overbook.scheduler.changes import Changes
from overbook.scheduler.conditions import is_available
from overbook.scheduler.pending import Pending
from overbook.scheduler.records import Model, Needs, Replica, Role, Server, Weight

NOTHING: Final = Weight(0, 0, 0)


class Seats:
    """The records by name. ``freed``: bytes became free since somebody last asked who waits for them.

    ``touched``: models, and ``weighed``: Servers whose conditions are to be looked at. ``pinned``: replicas where pins
    may leave room to others than before.
    """

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}
        self.servers: dict[str, Server] = {}
        self.replicas: dict[ReplicaId, Replica] = {}
        self.pending = Pending()
        self.changes = Changes()
        self.touched: set[str] = set()
        self.weighed: set[str] = set()
        self.pinned: set[ReplicaId] = set()
        self.freed = False
        self.callers: dict[str, set[str]] = {}  # by what they call, registered or not
        self.moved: set[str] = set()  # callees whose seats changed: their callers go where they are
        self._linked: dict[str, tuple[str, ...]] = {}
        self._kept: set[str] = set()  # models that a pin keeps in memory, as agents were told

    def link(self, model: Model) -> None:
        """Call after what a model calls has changed."""
        self._relink(model.name, model.callees)

    def unlink(self, model: Model) -> None:
        """The model is gone."""
        self._kept.discard(model.name)
        self._relink(model.name, ())
        self._note_move(model.name)

    def _relink(self, name: str, callees: tuple[str, ...]) -> None:
        before = self._linked.pop(name, ())
        if callees:
            self._linked[name] = callees
        if callees == before:
            return
        for each in before:
            callers = self.callers[each]
            callers.discard(name)
            if not callers:
                del self.callers[each]
        for each in callees:
            self.callers.setdefault(each, set()).add(name)
        self._pin_all(dict.fromkeys((*before, *callees)))

    def registered(self, model: Model) -> None:
        """It was not known before: what calls it waits for it for another reason now."""
        self._note_move(model.name)

    def _note_move(self, name: str) -> None:
        if name in self.callers:
            self.moved.add(name)

    def _lacking(self, model: Model, replica_id: ReplicaId) -> tuple[str, ...]:
        return tuple(
            name
            for name in model.callees
            if (callee := self.models.get(name)) is None
            or callee.seats.get(replica_id) is not Role.ASSIGNED
        )

    def seat(self, model: Model, replica_id: ReplicaId, role: Role) -> None:
        """Gives the model a seat, or its seat another role."""
        if model.seats.get(replica_id) is role:
            return
        if replica_id not in model.seats:
            replica = self.replicas[replica_id]
            replica.models.add(model.name)
            self._count(replica, model.name, NOTHING, model.weight)
        model.seats[replica_id] = role
        self._note_move(model.name)
        self._pin(model, self.replicas[replica_id])
        self.mark(model)

    def unseat(self, model: Model, replica_id: ReplicaId) -> None:
        """The model is gone from the replica: its bytes are free."""
        if model.seats.pop(replica_id, None) is None:
            return
        replica = self.replicas[replica_id]
        replica.models.discard(model.name)
        self._count(replica, model.name, model.weight, NOTHING)
        replica.reports.pop(model.name, None)
        replica.misdeclared.discard(model.name)
        replica.asked_again.discard(model.name)
        replica.grown.discard(model.name)
        self._pin(model, replica)
        self.freed = True
        if replica.draining and not replica.models:
            self.changes.server_list = True
        self._note_move(model.name)
        self.mark(model)

    def resized(self, model: Model, before: Weight) -> None:
        """Call after what `Model.weight` follows from has changed; ``before``: what it was."""
        after = model.weight
        if after == before:
            return
        for replica_id in model.seats:
            self._count(self.replicas[replica_id], model.name, before, after)
            self._pin(model, self.replicas[replica_id])
        if after.size < before.size:
            self.freed = True
        if model.name in self.pending:
            self.pending.put(model)
            self.freed = True

    def _count(self, replica: Replica, name: str, before: Weight, after: Weight) -> None:
        replica.registered += after.size - before.size
        replica.beyond.pop(name, None)
        if after.size > after.claim:
            replica.beyond[name] = after.size - after.claim
        self.weighed.add(replica.id.server)

    def pinned_by(self, model: Model) -> str:
        """The pinned model for which this one stays in memory: itself, or one that calls it; "" when none does."""
        upwards = _reachable([model.name], lambda name: sorted(self.callers.get(name, ())))
        found = (self.models.get(name) for name in upwards)
        return next((each.name for each in found if each is not None and each.needs.pinned), "")

    def pin(self, model: Model) -> None:
        """Call after whether the model is pinned has changed. What it calls stays with it, and agents hear of that."""
        self._pin_all([model.name])

    def _pin_all(self, names: Iterable[str]) -> None:
        for name in _reachable(names, lambda each: self._linked.get(each, ())):
            model = self.models.get(name)
            if model is None:
                continue
            kept = bool(self.pinned_by(model))
            if kept != (name in self._kept):
                (self._kept.add if kept else self._kept.discard)(name)
                self.tell(model)
            for replica_id in model.seats:
                self._pin(model, self.replicas[replica_id])

    def _pin(self, model: Model, replica: Replica) -> None:
        """Keeps what pinned models take in step with seats, sizes and pins."""
        before = replica.pinned.pop(model.name, 0)
        if replica.id in model.seats and self.pinned_by(model):
            replica.pinned[model.name] = model.weight.takes
        if before or replica.pinned:
            self.pinned.add(replica.id)

    def look_at_pins(self) -> None:
        """Finds whom pins leave without room now, where that may have changed."""
        looked, self.pinned = self.pinned, set()
        for replica_id in looked & self.replicas.keys():
            replica = self.replicas[replica_id]
            crowded = pins.crowded(replica, self.models)
            self.touched |= crowded | replica.crowded
            replica.crowded = crowded

    def mark(self, model: Model) -> None:
        """The model's row is to be written, its route to be published, its condition looked at."""
        self.link(model)
        self.changes.models.add(model.name)
        self.changes.routes.add(model.name)
        self.touched.add(model.name)

    def tell(self, model: Model) -> None:
        """Every agent that holds the model hears of its present spec."""
        for replica_id, role in model.seats.items():
            if role is Role.ASSIGNED:
                self.changes.told[replica_id].add(model.name)

    def revoke(self, model: Model, replica_id: ReplicaId) -> None:
        """Takes the route away, then tells the agent; without an agent to tell, the seat ends at once."""
        replica = self.replicas[replica_id]
        if replica.draining and not replica.connected:
            self.unseat(model, replica_id)
            return
        self.seat(model, replica_id, Role.REVOKING)
        self.changes.revoked[replica_id].add(model.name)

    def settle(self, model: Model) -> None:
        """Ends a move: the old seats go once the new ones are available."""
        leaving = model.with_role(Role.LEAVING)
        assigned = model.assigned
        if not leaving or not assigned:
            return
        available = sum(1 for each in assigned if is_available(model, self.replicas.get(each)))
        if available >= min(model.needed, len(assigned)):
            for replica_id in leaving:
                self.revoke(model, replica_id)

    def routes(self, model: Model) -> list[ReplicaId]:
        """Where requests may go: replicas that are available, else all that may become so."""
        if model.deleting:
            return []
        seats = [each for each, role in model.seats.items() if role is not Role.REVOKING]
        if len(seats) < 2:
            return seats
        ready = [each for each in seats if is_available(model, self.replicas.get(each))]
        return ready or seats

    def forget_replica(self, replica: Replica) -> bool:
        """Drops a draining replica that nobody sits on and nobody speaks for; whether it did."""
        idle = replica.draining and not replica.connected and not replica.models
        if idle and self.replicas.pop(replica.id, None) is not None:
            self.changes.replicas.add(replica.id)
            self.changes.server_list = True
            return True
        return False

    def views(self, model: Model) -> list[ReplicaView]:
        """Every replica of a known Server as placement is to see it for this model."""
        result = []
        weight = model.weight
        for replica in self.replicas.values():
            server = self.servers.get(replica.id.server)
            if server is None:
                continue
            said = replica.server_report
            role = model.seats.get(replica.id)
            own = NOTHING if role is None else weight
            must_fit = model.name in replica.asked_again
            moving = role is not Role.ASSIGNED or must_fit or model.name in replica.grown
            result.append(
                ReplicaView(
                    id=replica.id,
                    capabilities=replica.capabilities,
                    budget=max(0, replica.budget - said.foreign_bytes),
                    overcommit_percent=replica.overcommit,
                    registered=replica.registered - own.size,
                    models=len(replica.models) - (role is not None),
                    connected=replica.connected,
                    draining=replica.draining,
                    holds=role is Role.ASSIGNED or role is Role.LEAVING,
                    held=0 if moving else own.size,
                    keeps=role is Role.ASSIGNED and not must_fit,
                    awaited=replica.await_until > 0.0,
                    runtime=server.runtime,
                    separate_process=frozenset()
                    if replica.hello is None
                    else replica.hello.separate_process,
                    attached=server.attachment is not None,
                    foreign=said.foreign_names,
                    lacking=self._lacking(model, replica.id) if model.callees else (),
                    own_packages=server.environment is not None,
                )
            )
        return result

    def misplaced(self, replica: Replica, *, enforce: bool) -> list[str]:
        """Names of those assigned here who may not stay, last registered first.

        ``enforce``: a budget that was made smaller sends the last registered away, as many as were too many
        also with what they were admitted with. A size that was learned does not: it would unseat whoever serves well.
        """
        models = sorted(
            (self.models[name] for name in replica.models),
            key=lambda model: model.created,
            reverse=True,
        )
        here = [model for model in models if model.seats[replica.id] is Role.ASSIGNED]
        if replica.draining:
            return [model.name for model in here]
        found: dict[str, None] = {}
        registered = replica.registered
        claimed = sum(model.weight.claim for model in models)
        for model in here:
            lacks = replica.connected and bool(
                unmet(model.needs.requirements, replica.capabilities)
            )
            weight = model.weight
            excess = min(registered, claimed) > replica.limit
            too_large = min(weight.takes, weight.claim) > replica.budget
            if enforce and (excess or too_large):
                replica.asked_again.add(model.name)
            if lacks or model.name in replica.asked_again:
                found[model.name] = None
                registered -= weight.size
                claimed -= weight.claim
        return list(found)


def demand(model: Model, models: Mapping[str, Model]) -> ModelDemand:
    """What placement is asked for a model. ``models``: all that are registered."""
    return replace(
        demand_of(model.name, model.needs, model.weight, model.made_for),
        unseen=model.unseen,
        unregistered=tuple(
            each
            for each in model.callees
            if (callee := models.get(each)) is None or callee.deleting
        ),
    )


def demand_of(name: str, needs: Needs, weight: Weight, made_for: str) -> ModelDemand:
    """The same, for a model that is not in the state, or not yet as it shall be."""
    return ModelDemand(
        name=name,
        size=weight.size,
        takes=weight.takes,
        requirements=frozenset(needs.requirements),
        replicas=needs.replicas,
        min_replicas=needs.min_replicas,
        server=needs.server,
        made_for=made_for,
    )


def _reachable(names: Iterable[str], following: Callable[[str], Iterable[str]]) -> dict[str, None]:
    """These, and all that they lead to, each once."""
    found: dict[str, None] = {}
    coming = [*names]
    while coming:
        name = coming.pop(0)
        if name not in found:
            found[name] = None
            coming += following(name)
    return found
