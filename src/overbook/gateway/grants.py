"""Pure bookkeeping: how many requests were let through to each model, for who must know when all have arrived.

Two count the same requests at the other end. An inference server that counts (`Grants`) is asked by the agent, which
hears our number. Else Envoy's own counters tell (`Tally`), where no request comes past the gateway.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


class Grants:
    """Of all replicas, by model. What a server counts begins anew when it starts: with its epoch."""

    def __init__(self) -> None:
        self._epochs: dict[str, int] = {}
        self._counts: dict[str, Counter[str]] = {}

    def begin(self, replica: str, epoch: int) -> None:
        """The replica's server is in this epoch. The same again changes nothing."""
        if self._epochs.get(replica) != epoch:
            self._epochs[replica] = epoch
            self._counts.pop(replica, None)

    def forget(self, replica: str) -> None:
        self._epochs.pop(replica, None)
        self._counts.pop(replica, None)

    def add(self, replica: str, model: str) -> None:
        """One more request was let through."""
        self._counts.setdefault(replica, Counter())[model] += 1

    def take_back(self, replica: str, model: str) -> None:
        """One that was let through did not go there."""
        if self.total(replica, model):
            self._counts[replica][model] -= 1

    def epoch(self, replica: str) -> int:
        """In which its server is, 0 when nothing was heard of it."""
        return self._epochs.get(replica, 0)

    def total(self, replica: str, model: str) -> int:
        """In this epoch."""
        return self._counts.get(replica, Counter())[model]


@dataclass(slots=True)
class Tally:
    """Requests let through to a place, against Envoy's counter of attempts there.

    ``level``: what the counter said when all that were let through before were in it. ``since``: let through since.
    """

    level: int = 0
    since: int = 0

    def grant(self) -> None:
        self.since += 1

    def take_back(self) -> None:
        self.since = max(0, self.since - 1)

    def all_counted(self, total: int) -> bool:
        """Whether Envoy has counted all, when its counter says this. A smaller one than before proves nothing: it was
        read earlier, or is that of an Envoy that started again.
        """
        return not self.uncounted(total)

    def uncounted(self, total: int) -> int:
        """How many of them Envoy may not have counted yet when its counter says this."""
        return max(0, self.since - (total - self.level))

    def settle(self, total: int) -> None:
        """All that were let through are in ``total``, or will never be: their clients have left."""
        self.level, self.since = total, 0
