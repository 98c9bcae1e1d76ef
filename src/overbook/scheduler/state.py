"""Desired state and its decisions: what an apply, a delete, an agent or a report changes. No I/O, no clock.

Theory of operation. The actor is the only caller. A call changes the state in memory and collects
`Changes`; models that must be (re)placed go on a list that `bites` works off piecemeal, so that
nothing here takes long. The actor then writes the changes and only after that tells anybody. Waiting
models are tried again when bytes become free (`Pending` makes that cheap) and all of them when a
Server or an agent comes, goes or changes, which is rare. Nothing moves because a better place exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from overbook.access.tokens import Token
from overbook.manifests.requirements import is_versioned
from overbook.placement import Provider, ReplicaId, Verdict, place
from overbook.scheduler.changes import Changes, Note
from overbook.scheduler.conditions import model_condition, readiness, server_condition
from overbook.scheduler.errors import NotFound
from overbook.scheduler.records import Hello, Model, Reason, Replica, Role, Server, StoredSecret
from overbook.scheduler.seats import Seats, demand

# What models get to become available elsewhere before their replica is taken away.
DRAIN_SECONDS: Final = 60.0
# Agents of one Server come one after the other. So long the first is not given everything.
AWAIT_SECONDS: Final = 3.0


class State:
    """The seats and everything that may happen to them. `manifests_in` adds what people ask for, `agents_in` what
    agents report.

    ``secrets``: by the names that models call them; see `secrets_in`. ``tokens``: by name; see `tokens_in`.
    ``providers``: who could offer a capability that nobody offers now, for verdicts.
    """

    def __init__(self, providers: Sequence[Provider] = ()) -> None:
        self.providers: Final = tuple(providers)
        self.seats = Seats()
        self.secrets: dict[str, StoredSecret] = {}
        self.tokens: dict[str, Token] = {}
        self._todo: dict[str, None] = {}

    # What the actor asks after every call.

    def bites(self, limit: int) -> Iterator[None]:
        """Places every model that is due; between two items at most ``limit`` of them."""
        while self._step(limit):
            yield

    def _step(self, limit: int) -> bool:
        seats = self.seats
        for name in seats.moved:
            self.later(sorted(seats.callers.get(name, ())))
        seats.moved.clear()
        for name in list(self._todo)[:limit]:
            del self._todo[name]
            model = seats.models.get(name)
            if model is not None and not model.deleting:
                self.place(model)
        if self._todo or seats.moved:
            return True
        if seats.freed:
            seats.freed = False
            seats.freed = not self._retry_waiting(limit) or seats.freed
        return bool(self._todo) or bool(seats.moved) or seats.freed

    def take_changes(self, now: float) -> Changes:
        """Everything that changed since the last call; conditions are brought up to date first."""
        seats = self.seats
        self.refresh(now)
        seats.touched, seats.weighed = set(), set()
        changes, seats.changes = seats.changes, Changes()
        return changes

    def refresh(self, now: float) -> None:
        """Brings the conditions of what was touched up to date."""
        self.seats.look_at_pins()
        for name in self.seats.touched:
            model = self.seats.models.get(name)
            if model is not None:
                self._refresh(model, now)
        for name in self.seats.weighed:
            self.refresh_server(name, now)

    def _refresh(self, model: Model, now: float) -> None:
        before = model.condition
        after = model_condition(model, self.seats.replicas, now)
        model.condition = after
        told = readiness(model, self.seats.replicas)
        if told != model.readiness:
            model.readiness = told
            self.seats.changes.routes.add(model.name)
        if before is None or before.reason == after.reason:
            return
        failed = after.reason == "ModelFailed"
        if failed or after.status or after.reason == Reason.SCALED_DOWN.value:
            self.note(after.reason, model.name, after.message, warning=failed)

    def note(self, reason: str, name: str, message: str, *, warning: bool = False) -> None:
        """Tells of a model."""
        self.seats.changes.notes.append(Note(reason, "Model", name, message, warning))

    # Placement.

    def place(self, model: Model) -> Verdict:
        """Decides anew where the model shall be; what holds it already stays while it may."""
        seats = self.seats
        verdict = place(demand(model, self.seats.models), seats.views(model), self.providers)
        before = model.assigned
        failing = bool(model.reason) and not model.waiting and len(before) < model.needed
        for replica_id in verdict.chosen:
            if model.seats.get(replica_id) is not Role.ASSIGNED:
                seats.seat(model, replica_id, Role.ASSIGNED)
                seats.changes.told[replica_id].add(model.name)
        for replica_id in before:
            if replica_id not in verdict.chosen:
                seats.seat(model, replica_id, Role.LEAVING)
        for replica_id in model.seats:
            seats.replicas[replica_id].asked_again.discard(model.name)
            seats.replicas[replica_id].grown.discard(model.name)
        if verdict.wanted == 0 or not (verdict.placed or verdict.waiting):
            for replica_id in model.with_role(Role.LEAVING):
                seats.revoke(model, replica_id)
        if (model.reason, model.waiting) != (verdict.reason, verdict.waiting):
            model.reason, model.waiting = verdict.reason, verdict.waiting
            seats.changes.routes.add(model.name)
            seats.touched.add(model.name)
        # Who has to be looked at first waits for that, not for bytes.
        if verdict.complete or model.unseen is not None:
            seats.pending.discard(model.name)
        else:
            seats.pending.put(model)
        self._note_placement(model, before, verdict, failing)
        seats.settle(model)
        return verdict

    def _note_placement(
        self, model: Model, before: list[ReplicaId], verdict: Verdict, failing: bool
    ) -> None:
        if verdict.chosen and set(verdict.chosen) != set(before):
            where = ", ".join(str(each) for each in verdict.chosen)
            self.note("ModelPlaced", model.name, f"assigned to {where}")
            self.seats.changes.verdicts["placed" if verdict.complete else "partial"] += 1
        if not verdict.placed and not verdict.waiting and not failing:
            self.note("ScheduleFailed", model.name, verdict.reason, warning=True)
            self.seats.changes.verdicts["refused"] += 1

    def _retry_waiting(self, limit: int) -> bool:
        """Tries the smallest of each group until one does not fit; False when ``limit`` was reached."""
        seats = self.seats
        for group in seats.pending.groups():
            while (name := seats.pending.smallest(group)) is not None:
                model = seats.models[name]
                before = model.assigned
                self.place(model)
                if model.assigned == before:
                    break
                limit -= 1
                if limit <= 0:
                    return False
        return True

    def later(self, names: Iterable[str]) -> None:
        """Puts models on the list that `bites` works off."""
        self._todo.update(dict.fromkeys(names))

    def retry_all(self) -> None:
        """Something rare changed: every waiting model gets a new answer, first registered first."""
        self.later(self.seats.pending.names())

    def verdict(self, name: str) -> Verdict:
        """The answer as of now, for people. Changes nothing. Raises NotFound."""
        model = self.model(name)
        return place(demand(model, self.seats.models), self.seats.views(model), self.providers)

    def model(self, name: str) -> Model:
        model = self.seats.models.get(name)
        if model is None:
            raise NotFound(f"model {name!r} is not registered; see `overbook get models`")
        return model

    def server(self, name: str) -> Server:
        server = self.seats.servers.get(name)
        if server is None:
            raise NotFound(f"server {name!r} is not registered; see `overbook get servers`")
        return server

    # Servers and their replicas.

    def fit_replicas(self, server: Server, now: float) -> None:
        """Makes the replicas what the Server's spec says, and re-places whoever cannot stay."""
        seats = self.seats
        for index in range(server.replicas):
            replica_id = ReplicaId(server.name, index)
            if replica_id not in seats.replicas:
                replica = Replica(replica_id, server.memory, server.overcommit)
                replica.await_until = now + AWAIT_SECONDS
                seats.replicas[replica_id] = replica
                seats.changes.replicas.add(replica_id)
        for replica in self.replicas_of(server.name):
            draining = replica.id.replica >= server.replicas
            if draining and not replica.draining:
                replica.drain_until = now + DRAIN_SECONDS
            replica.draining = draining
            before = (replica.budget, replica.limit)
            replica.budget, replica.overcommit = server.memory, server.overcommit
            if replica.pinned:
                seats.pinned.add(replica.id)
            smaller = replica.budget < before[0] or replica.limit < before[1]
            if replica.hello is not None:
                replica.capabilities = capabilities(server, replica.hello)
                seats.changes.replicas.add(replica.id)  # gateways hear what it allows
            if replica.connected:
                seats.changes.configured.add(replica.id)
            self.later(self.seats.misplaced(replica, enforce=smaller))
            self.forget(replica)
        seats.changes.server_list = True
        self.refresh_server(server.name, now)
        self.retry_all()

    def running_replicas(self, server: Server) -> int:
        """How many replicas must run: those that are wanted, and those whose models still move away."""
        leaving = [
            replica.id.replica + 1
            for replica in self.replicas_of(server.name)
            if replica.draining and replica.models
        ]
        return max([server.replicas, *leaving])

    def next_deadline(self) -> float | None:
        """When (Unix seconds) the next drain or wait for an agent must be over, None when none is going on."""
        replicas = self.seats.replicas.values()
        drains = (each.drain_until for each in replicas if _drains(each))
        waits = (each.await_until for each in replicas if each.await_until)
        return min((*drains, *waits), default=None)

    def end_waits(self, now: float) -> None:
        """Agents that did not come in time are waited for no longer: models go where they can."""
        late = [each for each in self.seats.replicas.values() if 0 < each.await_until <= now]
        for replica in late:
            replica.await_until = 0.0
        if late:
            self.retry_all()

    def end_drains(self, now: float) -> None:
        """Models that could not move in time lose their seats: the replica must go."""
        for replica in list(self.seats.replicas.values()):
            if not _drains(replica) or replica.drain_until > now:
                continue
            for name in sorted(replica.models):
                model = self.seats.models[name]
                self.seats.unseat(model, replica.id)
                self.seats.changes.told[replica.id].add(name)
                self.end_if_gone(model)
                self.later([name])
            self.forget(replica)

    def replicas_of(self, server: str) -> list[Replica]:
        """In the order of their numbers."""
        found = [each for each in self.seats.replicas.values() if each.id.server == server]
        return sorted(found, key=lambda each: each.id)

    def remove_server(self, name: str) -> list[str]:
        """Its models lose their seats at once and look for others; their names. Raises NotFound."""
        seats = self.seats
        displaced: dict[str, None] = {}
        self.server(name)
        del seats.servers[name]
        seats.changes.gone_servers.add(name)
        seats.changes.server_list = True
        seats.changes.notes.append(Note("ServerRemoved", "Server", name, "deleted"))
        for replica in self.replicas_of(name):
            replica.draining = True
            seats.changes.replicas.add(replica.id)
            homeless = sorted(replica.models, key=lambda each: seats.models[each].created)
            for model_name in homeless:
                model = seats.models[model_name]
                seats.unseat(model, replica.id)
                seats.changes.told[replica.id].add(model_name)
                self.end_if_gone(model)
            self.later(homeless)
            displaced.update(dict.fromkeys(each for each in homeless if each in seats.models))
            self.forget(replica)
        self.retry_all()
        return list(displaced)

    def refresh_server(self, name: str, now: float) -> None:
        server = self.seats.servers.get(name)
        if server is not None:
            wanted = [each for each in self.replicas_of(name) if each.id.replica < server.replicas]
            server.condition = server_condition(server, wanted, now)

    def forget(self, replica: Replica) -> None:
        """Whoever waits for a place is told of those that there are, and not of one that was taken away."""
        if self.seats.forget_replica(replica):
            self.retry_all()

    # Deleting.

    def remove_model(self, name: str) -> None:
        """The catalogue forgets it, agents drain it, and its row goes with its last seat. Raises NotFound."""
        seats = self.seats
        model = self.model(name)
        if model.deleting:
            return
        model.deleting = True
        seats.pending.discard(name)
        seats.mark(model)
        self.note("ModelTerminating", name, "deleted; draining")
        for replica_id in list(model.seats):
            seats.revoke(model, replica_id)
        self.end_if_gone(model)

    def end_if_gone(self, model: Model) -> None:
        """Ends a deletion once the last seat is empty."""
        if not model.deleting or model.seats:
            return
        changes = self.seats.changes
        del self.seats.models[model.name]
        changes.models.discard(model.name)
        changes.hints.discard(model.name)
        changes.gone_models.add(model.name)
        changes.routes.add(model.name)
        self.seats.unlink(model)
        self.note("ModelRemoved", model.name, "removed")


def _drains(replica: Replica) -> bool:
    return replica.draining and bool(replica.models)


def capabilities(server: Server, hello: Hello) -> frozenset[str]:
    """What a replica offers: the Server's own list where it has one, else its runtime's; plus extras."""
    base = hello.capabilities
    if server.capabilities is not None:
        # It replaces what the runtime can serve; which packages there are, it cannot change.
        base = server.capabilities | frozenset(filter(is_versioned, hello.capabilities))
    return base | frozenset(server.extra_capabilities)
