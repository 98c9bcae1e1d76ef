"""Bytes that are free or coming back, while they are handed out; and who may leave to make more of them.

Worked out anew for every event and never stored. Who gets what is decided in `allocation`, `claims` and `ahead`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from overbook.residency.effects import Cause
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName
from overbook.residency.places import Places
from overbook.residency.planning import Candidate
from overbook.residency.replica import ReplicaState
from overbook.residency.states import State


@dataclass(slots=True)
class Promises:
    """Bytes not promised to anybody yet. ``spare`` counts what will come back, ``free`` only what is there."""

    free: int
    spare: int
    places: Places  # how many more waiting models may have room made for them now
    # Chosen but not yet told to leave: one who turns out superfluous before the end is left alone.
    victims: dict[ModelName, Cause] = field(default_factory=dict)
    room_for: dict[ModelName, ModelName | None] = field(default_factory=dict)  # by victim
    kept: set[ModelName] = field(
        default_factory=set
    )  # to whom room was promised: no longer victims
    idle_bytes: int = 0  # what those who may leave hold; less than is missing: no search
    claimed: bool = False  # somebody waited too long, and models in use leave for it
    blocked: bool = False  # somebody waits for a busy model to become idle
    wake: float = math.inf  # when to look again, in seconds

    def choose(
        self, victims: Iterable[Candidate], cause: Cause, room_for: ModelName | None = None
    ) -> None:
        """They are idle: their bytes come back as soon as they left. ``room_for``: whose load needs them."""
        for victim in victims:
            self.victims[victim.model] = cause
            self.room_for[victim.model] = room_for
            self.spare += victim.size
            self.idle_bytes -= victim.size


def idle(
    replica: ReplicaState,
    promises: Promises,
    now: float,
    besides: Entry | None,
    *,
    certainly: bool = False,
) -> Iterator[Candidate]:
    """Residents that may leave now, in eviction order (law 3). Those that are kept alive come after the others.

    Last of all come those that are uncertain, unless they must be idle ``certainly``: a request that was just
    passed on may be in flight unseen, which the end of the drain waits for.
    """
    kept: list[Candidate] = []
    uncertain: list[Candidate] = []
    uncertain_kept: list[Candidate] = []
    unseen = replica.sums.idle_bytes
    for entry in replica.residents(now):
        if not unseen and not replica.calls:
            break  # who comes now is in use
        size = replica.sums.idle(entry)
        unseen -= size
        if (not size and not _weightless_caller(replica, entry)) or entry is besides:
            continue
        if entry.model in promises.victims or entry.model in promises.kept:
            continue
        if entry.in_sequence(now):
            promises.wake = min(promises.wake, entry.last_used + entry.sequence_idle)
            continue
        candidate = Candidate(entry.model, size)
        if entry.uncertain(now):
            (uncertain_kept if entry.kept_alive(now) else uncertain).append(candidate)
        elif entry.kept_alive(now):
            kept.append(candidate)
        else:
            yield candidate
    yield from kept  # rather than none at all
    if not certainly:
        yield from uncertain
        yield from uncertain_kept


def _weightless_caller(replica: ReplicaState, entry: Entry) -> bool:
    """Nothing comes back when it leaves, but what it calls may leave then."""
    if replica.ledger.of(entry.model) or not replica.calls.callees(entry.model):
        return False
    return entry.state is State.RESIDENT and not entry.pinned and not entry.busy


def in_use(replica: ReplicaState, now: float) -> Iterator[Candidate]:
    """Residents that law 3 protects for now, in eviction order. Never those that are pinned."""
    for entry in replica.residents(now):
        size = replica.ledger.of(entry.model)
        if entry.pinned or entry.state is not State.RESIDENT or entry.verifying:
            continue
        if not size and not replica.calls.callees(entry.model):
            continue
        if entry.in_use or entry.in_sequence(now):
            yield Candidate(entry.model, size)
