"""Room on the disk, made by models that leave memory: their files stay as long as they are there, and may be in the way
of files that somebody waits for.

Theory of operation. The agent says how many bytes are missing on the disk, and which files would be free if their
models left memory; that holds until it says otherwise, and what follows from it is worked out anew after every event.
Who leaves is whom memory would lose next: idle models in eviction order, the whole set before any of them. Files of
several models count when the last of these leaves. A request puts such a model back, and another one leaves in its
place. But when the wait has taken longer than `Limits.patience`, models in use are withdrawn as well, as far as they
go, and nobody is put back any more: under constant traffic the wait would have no end. What they have in flight ends
all the same. Whoever asks for one of them waits in line for its files, which is for the agent to see to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from overbook.residency.effects import Cause
from overbook.residency.events import DiskRoomWanted, ModelName
from overbook.residency.files_leaving import coming, is_late, leaves
from overbook.residency.places import places
from overbook.residency.planning import Candidate, plan_victims
from overbook.residency.promises import Promises, idle, in_use
from overbook.residency.replica import ReplicaState
from overbook.residency.together import in_turn


def make_disk_room(replica: ReplicaState, now: float) -> float:
    """Have models leave whose files are in the way. Returns when to look again, in seconds; inf: nothing is wanted."""
    wanted = replica.disk
    if wanted is None:
        return math.inf
    late = is_late(replica, wanted, now)
    promises = Promises(0, 0, places(replica, now), idle_bytes=replica.sums.idle_bytes)
    promises.kept.update(_called_by_pending(replica))
    held = _Held(replica, wanted, late=late)
    leaving = held.freed_by(in_turn(replica, promises, _leaving(replica, promises, now, late=late)))
    victims = plan_victims(wanted.missing - coming(replica, wanted, late=late), leaving)
    if victims is None:
        replica.blocked = True
        victims = tuple(held.found) if late else ()
    for victim in victims:
        for model in held.with_last(victim.model):
            entry = replica.entries[model]
            if entry.drain is None:  # else it left with what it calls, or for other files
                replica.begin_drain(entry, Cause.DISK, now)
    return promises.wake if late else min(promises.wake, wanted.since + replica.limits.patience)


def _leaving(
    replica: ReplicaState, promises: Promises, now: float, *, late: bool
) -> Iterator[Candidate]:
    """Models that may leave, in their order."""
    idle_ones = idle(replica, promises, now, None)
    if not late:
        return idle_ones
    used = (each for each in in_use(replica, now) if each.model not in promises.kept)
    return chain(idle_ones, used)


def _called_by_pending(replica: ReplicaState) -> set[ModelName]:
    """What is loaded for those who wait for its callers: it would come back at once."""
    if not replica.calls:
        return set()
    return {model for caller in replica.pending for model in replica.calls.below(caller)}


@dataclass(slots=True)
class _Files:
    """``models``: that hold them, of which so many are ``left`` while one after the other is chosen to leave."""

    size: int
    models: tuple[ModelName, ...]
    left: int


class _Held:
    """Files that models in memory hold. ``found``: models with the last of which some are free, and their bytes."""

    def __init__(self, replica: ReplicaState, wanted: DiskRoomWanted, *, late: bool) -> None:
        self.found: list[Candidate] = []
        self._files: dict[ModelName, list[_Files]] = {}
        self._with_last: dict[ModelName, list[ModelName]] = {}
        for each in wanted.files:
            models = tuple(m for m in each.models if not leaves(replica, m, late=late))
            held = _Files(each.size, models, len(models))
            for model in models:
                self._files.setdefault(model, []).append(held)

    def freed_by(self, candidates: Iterator[Candidate]) -> Iterator[Candidate]:
        """Of these the last ones of files, with the bytes of the disk that come back."""
        for each in candidates:
            size, models = 0, list[ModelName]()
            for held in self._files.get(each.model, ()):
                held.left -= 1
                if not held.left:
                    size += held.size
                    models += held.models
            if size:
                self._with_last[each.model] = models
                self.found.append(each._replace(size=size))
                yield self.found[-1]

    def with_last(self, model: ModelName) -> list[ModelName]:
        """All that have to leave for the files that are free with this one."""
        return self._with_last[model]
