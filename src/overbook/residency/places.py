"""How many loads may run at once: a few that are short, and beside them a few that take long.

Theory of operation. A short load is worth waiting for, a long one is not: so the long ones have places of their own and
never take one of the others. How long a load takes is known from earlier ones, or guessed; a guess that was too low
comes out while the load runs, and then it gives its place back, so that others wait for it no longer than
`Limits.long_after`. Should many guesses be wrong at once, the places shrink to one, for the server's sake.
Room is made ahead, while all places are taken, for short loads only, and only for a small part of the budget: their
places are free again soon, but what leaves early is missed meanwhile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from overbook.residency.replica import ReplicaState

# Room is made for no more than this share of the budget before there is a place for the load.
_AHEAD_SHARE: Final = 1 / 16


@dataclass(slots=True)
class Places:
    """Loads that may begin now, and those to which room may be promised now. Counts, but for ``ahead_bytes``."""

    short: int
    long: int
    short_promises: int
    long_promises: int
    ahead: int  # of the short promises those for which there is no place yet
    ahead_bytes: int
    long_running: int
    change: float  # when a running load will count as long, in seconds; inf: none will

    @property
    def closed(self) -> bool:
        """Whether room is promised to nobody any more."""
        return self.short_promises <= 0 and self.long_promises <= 0

    def admits(self, needs: int, *, long: bool) -> bool:
        """Whether room of so many bytes may be promised now."""
        if long:
            return self.long_promises > 0
        if self.short_promises <= self.ahead and needs > self.ahead_bytes:
            self.short_promises = 0  # those behind it do not overtake it
        return self.short_promises > 0

    def promise(self, needs: int, *, long: bool) -> None:
        """Take a promise that was admitted."""
        if long:
            self.long_promises -= 1
            return
        if self.short_promises <= self.ahead:
            self.ahead_bytes -= needs
        self.short_promises -= 1

    def begin(self, *, long: bool) -> bool:
        """Take a place, if there is one."""
        if long:
            self.long -= 1
            return self.long >= 0
        self.short -= 1
        return self.short >= 0

    def close(self, *, all_of_them: bool) -> None:
        """Promise room to no long load any more, or to none at all."""
        self.long_promises = 0
        if all_of_them:
            self.short_promises = 0


def places(replica: ReplicaState, now: float) -> Places:
    """The places that the running loads leave."""
    limits, short, long, change = replica.limits, 0, 0, math.inf
    for model in replica.loading:
        entry = replica.entries[model]
        due = entry.load_began + limits.long_after
        if now >= due or replica.takes_long(entry):
            long += 1
        else:
            short += 1
            change = min(change, due)
    mistaken = max(0, long - limits.long_loads)
    free = max(0, max(1, limits.concurrent_loads - mistaken) - short)
    free_long = max(0, limits.long_loads - long)
    return Places(
        short=free,
        long=free_long,
        short_promises=free + limits.lookahead,
        long_promises=free_long,
        ahead=limits.lookahead,
        ahead_bytes=int(replica.ledger.budget * _AHEAD_SHARE),
        long_running=long,
        change=change,
    )
