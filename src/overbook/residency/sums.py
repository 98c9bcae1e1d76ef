"""Sums over the entries of one replica that are kept step by step, so that no event looks at all models."""

from __future__ import annotations

from overbook.residency.entry import Entry
from overbook.residency.ledger import Ledger
from overbook.residency.states import State


class Sums:
    """An entry is taken out before anything changes of which it is counted, and put in again afterwards.

    Bytes. ``coming_back``: will be free without a further decision, see `returning`. ``idle_bytes``: could leave for
    others, see `idle`. ``pinned_bytes``: no pressure can free them, see `held_by_pin`.
    """

    __slots__ = ("_ledger", "coming_back", "idle_bytes", "pinned_bytes")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.coming_back = 0
        self.idle_bytes = 0
        self.pinned_bytes = 0

    def returning(self, entry: Entry) -> int:
        """Bytes on their way back. A draining model that is in use counts only when it is idle (law 3).

        What a load takes for a moment comes back with its end: nobody leaves for a load behind it in the meantime.
        """
        if entry.loading is not None:
            return entry.loading.extra
        if entry.unloading is not None or (entry.drain is not None and not entry.in_use):
            return self._ledger.of(entry.model)
        return 0

    def idle(self, entry: Entry) -> int:
        """Bytes that come back when it leaves, which it may do for another's sake (laws 3 and 9); else 0."""
        if entry.state is not State.RESIDENT or entry.pinned or entry.busy:
            return 0
        return self._ledger.of(entry.model)

    def held_by_pin(self, entry: Entry) -> int:
        """Bytes that a pin keeps for good; of a reload, which holds two copies, the smaller one."""
        if not entry.pinned:
            return 0
        if entry.loading is not None:
            size = entry.loading.size
            return size if entry.state is State.LOADING else min(entry.loaded_size, size)
        leaving = entry.drain is not None or entry.unloading is not None
        return 0 if leaving else self._ledger.of(entry.model)

    def room_for(self, entry: Entry) -> int:
        """The most bytes that it could ever have, as budget and pins are."""
        return self._ledger.budget - (self.pinned_bytes - self.held_by_pin(entry))

    def take_out(self, entry: Entry) -> int:
        """Before a change. Returns what its pin held until now."""
        self.coming_back -= self.returning(entry)
        self.idle_bytes -= self.idle(entry)
        held = self.held_by_pin(entry) if entry.pinned else 0
        self.pinned_bytes -= held
        return held

    def put_in(self, entry: Entry) -> int:
        """After a change. Returns what its pin holds from now on."""
        self.coming_back += self.returning(entry)
        self.idle_bytes += self.idle(entry)
        held = self.held_by_pin(entry) if entry.pinned else 0
        self.pinned_bytes += held
        return held
