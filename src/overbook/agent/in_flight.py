"""What of the models in memory may have requests in flight, by what the core knows. Looks only; pure.

``memory``: the entries of all models that are charged; others hold nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from overbook.residency.entry import Entry
from overbook.residency.states import SERVING, State


def requests_in(memory: Iterable[Entry]) -> int:
    """How many, as far as gateways counted them."""
    return sum(each.in_flight for each in memory)


def may_have_requests(memory: Iterable[Entry]) -> bool:
    """Whether there may be any. A drain that the core gave up does not say that there are none."""
    return any(
        each.state in SERVING or each.state is State.DRAINING or each.in_flight for each in memory
    )


def surely_asked(memory: Iterable[Entry]) -> bool:
    """Whether there are any for certain, or somebody was let through."""
    return any(each.in_use for each in memory)
