"""Which files will be free of models in memory without a further decision, where some have to leave the disk. Reads
only; who leaves for their sake is decided in `disk_room`.
"""

from __future__ import annotations

from overbook.residency.effects import Cause
from overbook.residency.entry import Entry
from overbook.residency.events import DiskRoomWanted, Files, ModelName
from overbook.residency.replica import ReplicaState
from overbook.residency.states import CHARGED


def is_late(replica: ReplicaState, wanted: DiskRoomWanted, now: float) -> bool:
    """Whether somebody has waited for too long."""
    return now >= wanted.since + replica.limits.patience


def leaves(replica: ReplicaState, model: ModelName, *, late: bool) -> bool:
    """Whether the model is on its way out of memory, or not there, and nobody waits for it to come back. What is in use
    counts only where that is waited for, as it is ``late``.
    """
    entry = replica.entries.get(model)
    if entry is None:
        return True
    if entry.state in CHARGED and entry.drain is None and entry.unloading is None:
        return False
    if entry.drain is not None and entry.in_use and not late:
        return False
    # Whoever asks for one that leaves for its files waits for these first.
    return _for_files(entry) or not replica.waiting.waiting_for(model)


def are_free(replica: ReplicaState, files: Files, *, late: bool) -> bool:
    """Whether they will be free of all their models."""
    return all(leaves(replica, model, late=late) for model in files.models)


def coming(replica: ReplicaState, wanted: DiskRoomWanted, *, late: bool) -> int:
    """Bytes of the disk that come back."""
    return sum(each.size for each in wanted.files if are_free(replica, each, late=late))


def files_leaving(replica: ReplicaState, now: float) -> tuple[bool, ...]:
    """Of the files that were named last, whether they will be free; none where nothing is wanted."""
    wanted = replica.disk
    if wanted is None:
        return ()
    late = is_late(replica, wanted, now)
    return tuple(are_free(replica, each, late=late) for each in wanted.files)


def leaves_for_good(replica: ReplicaState, entry: Entry, now: float) -> bool:
    """Whether it leaves so that its files can, and no request puts it back: whoever asks for it waits for its files."""
    wanted = replica.disk
    if wanted is None or not _for_files(entry):
        return False
    if entry.unloading is None and not is_late(replica, wanted, now):
        return False
    return any(entry.model in each.models for each in wanted.files)


def _for_files(entry: Entry) -> bool:
    cause = entry.unloading if entry.drain is None else entry.drain.cause
    return cause is Cause.DISK


class Surplus:
    """Bytes of the disk that come back beyond what is wanted, while models that need not leave are put back."""

    def __init__(self, replica: ReplicaState, now: float) -> None:
        self._replica = replica
        self._files: tuple[Files, ...] = ()
        self._late = False
        self._bytes = 0
        if (wanted := replica.disk) is not None:
            self._files = wanted.files
            self._late = is_late(replica, wanted, now)
            self._bytes = coming(replica, wanted, late=self._late) - wanted.missing

    def spares(self, entry: Entry) -> bool:
        """Whether the files of a model need not leave. Then it is to be put back."""
        size = sum(
            each.size
            for each in self._files
            if entry.model in each.models and are_free(self._replica, each, late=self._late)
        )
        if size and size > self._bytes:
            return False
        self._bytes -= size
        return True
