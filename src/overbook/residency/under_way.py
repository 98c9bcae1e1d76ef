"""A load and a drain that are under way, as values: an entry has one for as long as it lasts, and no longer.

Sizes are bytes, times seconds on the caller's clock.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from overbook.residency.effects import Cause
from overbook.residency.events import Ticket


class Loading(NamedTuple):
    """Of the content with this ``generation``; what arrives meanwhile makes it stale.

    ``size``: what it will take, ``peak``: what it takes for a moment, ``extra``: charged beyond its size until it ends,
    ``overdraft``: taken for a moment beyond what was free when it began. ``deleted``: its model was deleted since, and
    other content applied under the name.
    """

    generation: int
    size: int
    peak: int
    extra: int
    overdraft: int
    began: float
    deleted: bool = False


class Drain(NamedTuple):
    """Why the model leaves, and when it is unloaded whatever is in flight. ``withdrawn``: all gateways took its route
    away. ``settled``: nothing is in flight any more, or it was waited for long enough: only callers are in the way.
    """

    ticket: Ticket
    cause: Cause
    deadline: float
    withdrawn: bool = False
    settled: bool = False

    def because(self, cause: Cause) -> Drain:
        """The same, for another reason."""
        return Drain(self.ticket, cause, self.deadline, self.withdrawn, self.settled)

    def without_route(self) -> Drain:
        """The same, now that it is withdrawn."""
        return Drain(self.ticket, self.cause, self.deadline, withdrawn=True)

    def until_callers_left(self) -> Drain:
        """The same, now that only callers are in the way of the unload."""
        return Drain(self.ticket, self.cause, math.inf, self.withdrawn, settled=True)
