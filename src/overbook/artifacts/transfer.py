"""How far a fetch is: bytes of bytes, how fast, and how long it will take. Pure; time is an argument."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

# Seconds over which the rate is taken.
_WINDOW: Final = 5.0


@dataclass(frozen=True, slots=True)
class Transferred:
    """``done``, ``total``: bytes; a total of None is not known. ``rate``: bytes per second of late. ``left``: seconds,
    None where nobody can tell.
    """

    done: int
    total: int | None
    rate: float
    left: float | None


@dataclass(frozen=True, slots=True)
class Brought:
    """What a fetch took that has ended well: ``bytes`` that came, in ``seconds``."""

    bytes: int
    seconds: float

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.bytes / max(self.seconds, 0.001)


class Transfer:
    """One fetch. `came` may be called from any thread."""

    def __init__(self, total: int | None, now: float) -> None:
        self._lock = threading.Lock()
        self._total = total
        self._began = now
        self._done = 0
        self._seen: deque[tuple[float, int]] = deque([(now, 0)])

    def begins(self, now: float) -> None:
        """It has its room on the disk; what was waited for that is no part of it."""
        with self._lock:
            self._began = now
            self._seen = deque([(now, self._done)])

    def came(self, count: int) -> None:
        """So many bytes more are here."""
        with self._lock:
            self._done += count

    def at(self, now: float) -> Transferred:
        """As it is at this time; seconds of a clock that never goes back."""
        with self._lock:
            done = self._done
            self._seen.append((now, done))
            while len(self._seen) > 2 and now - self._seen[1][0] >= _WINDOW:
                self._seen.popleft()
            began, before = self._seen[0]
        rate = max(0.0, (done - before) / (now - began)) if now > began else 0.0
        left = None
        if self._total is not None and rate > 0:
            left = max(0.0, (self._total - done) / rate)
        return Transferred(done, self._total, rate, left)

    def ended(self, now: float) -> Brought:
        """It has, at this time."""
        return Brought(self._done, max(0.0, now - self._began))


class Transfers:
    """Those under way, by the place that they fetch from: one from each."""

    def __init__(self) -> None:
        self._transfers: dict[str, Transfer] = {}

    @contextmanager
    def under_way(self, place: str, total: int, now: float) -> Iterator[Transfer]:
        """For as long as the block runs. ``total``: bytes, 0 where the source says nothing."""
        self._transfers[place] = transfer = Transfer(total or None, now)
        try:
            yield transfer
        finally:
            del self._transfers[place]

    def of(self, place: str, now: float) -> Transferred | None:
        """None while nothing is fetched from there."""
        transfer = self._transfers.get(place)
        return None if transfer is None else transfer.at(now)

    def rate(self, now: float) -> float:
        """Bytes per second of all together, of late."""
        return sum(each.at(now).rate for each in self._transfers.values())
