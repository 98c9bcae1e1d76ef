"""What the gateway knows of models and replicas: a copy of the scheduler's catalogue, kept fresh.

The last copy outlives the scheduler: routing and activation go on without it. A catalogue that was
never received is different from an empty one: see `wait_known`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from overbook.wire import scheduler_pb2
from overbook.wire.common_pb2 import ReplicaRef

_UNTOLD: Final = "its server replicas have not reported on it yet"


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A registered model. ``replicas``: "server/replica"; ``ready``: a request would be answered. ``reason``: why
    there are no replicas, or why it is not ready.

    ``activation_timeout``: seconds for which its requests wait for it; None: as long as the gateway's own say.
    """

    name: str
    generation: int
    replicas: tuple[str, ...]
    reason: str
    activation_timeout: float | None = None
    ready: bool = True

    @property
    def available(self) -> bool:
        return self.ready and bool(self.replicas)


@dataclass(frozen=True, slots=True)
class ReplicaEntry:
    """A server replica. ``agent_target``: where its agent's AgentService is. ``allow``: what its Server allows."""

    name: str
    agent_target: str
    runtime: str
    allow: frozenset[str] = frozenset()


def replica_name(ref: ReplicaRef) -> str:
    """How a replica is written: "mlserver/0"."""
    return f"{ref.server}/{ref.replica}"


def _entry(model: scheduler_pb2.CatalogueModel, before: CatalogueEntry | None) -> CatalogueEntry:
    """While agents are silent, such as after a restart of the scheduler, what they said before holds."""
    ready = model.readiness == scheduler_pb2.CatalogueModel.READY
    reason = model.reason or model.not_ready
    if model.readiness == scheduler_pb2.CatalogueModel.UNKNOWN and model.replicas:
        ready = before is not None and before.ready
        reason = "" if ready else _UNTOLD
    return CatalogueEntry(
        name=model.name,
        generation=model.generation,
        replicas=tuple(replica_name(ref) for ref in model.replicas),
        reason=reason,
        activation_timeout=model.activation_timeout_seconds or None,
        ready=ready,
    )


class Catalogue:
    """Models and replicas as last heard. ``on_replicas`` is called when the replicas changed, ``on_models`` with the
    names of models that were registered or deleted.
    """

    def __init__(self) -> None:
        self._models: dict[str, CatalogueEntry] = {}
        self._replicas: dict[str, ReplicaEntry] = {}
        self._unconfirmed: tuple[set[str], set[str]] = (set(), set())
        self._known = asyncio.Event()
        self.on_replicas: Callable[[], None] = lambda: None
        self.on_models: Callable[[Collection[str]], None] = lambda _: None

    def models(self) -> Iterable[str]:
        """The names of all registered models."""
        return self._models.keys()

    def __contains__(self, model: str) -> bool:
        """Whether the model is registered."""
        return model in self._models

    def find(self, name: str) -> CatalogueEntry | None:
        return self._models.get(name)

    def kind(self, name: str) -> str:
        """Which kind of server has the model; "" where nobody has it, or that is not known."""
        entry = self._models.get(name)
        replicas = (self._replicas.get(each) for each in entry.replicas) if entry else ()
        return next((replica.runtime for replica in replicas if replica is not None), "")

    def assigned_replicas(self) -> set[str]:
        """The names of all replicas that models are assigned to."""
        return {name for entry in self._models.values() for name in entry.replicas}

    def replicas(self) -> dict[str, ReplicaEntry]:
        """All replicas by name."""
        return dict(self._replicas)

    async def wait_known(self) -> None:
        """Until the first full catalogue has arrived."""
        await self._known.wait()

    def apply(self, update: scheduler_pb2.CatalogueUpdate) -> None:
        """Take one update in. Between reset and complete the old entries stay usable."""
        if update.reset:
            self._unconfirmed = (set(self._models), set(self._replicas))
        models, replicas = self._unconfirmed
        before, changed = dict(self._replicas), set[str]()
        for model in update.models:
            models.discard(model.name)
            if model.name not in self._models:
                changed.add(model.name)
            self._models[model.name] = _entry(model, self._models.get(model.name))
        for replica in update.replicas:
            name = replica_name(replica.ref)
            replicas.discard(name)
            self._replicas[name] = ReplicaEntry(
                name, replica.agent_target, replica.runtime, frozenset(replica.allow)
            )
        gone_models = set(update.removed)
        gone_replicas = {replica_name(ref) for ref in update.removed_replicas}
        if update.complete:
            gone_models |= models
            gone_replicas |= replicas
            self._unconfirmed = (set(), set())
            self._known.set()
        for name in gone_models:
            if self._models.pop(name, None) is not None:
                changed ^= {name}
        for name in gone_replicas:
            self._replicas.pop(name, None)
        if before != self._replicas:
            self.on_replicas()
        if changed:
            self.on_models(changed)
