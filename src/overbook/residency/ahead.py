"""Room made ahead of demand, so that most activations need not wait for an eviction.

Theory of operation. After an activation took room, room for one more of typical size is made while nobody waits.
Who leaves is whom the next activation would have taken anyway; but only if it has not been used for longer than
it takes until that next activation comes, as far as their pace tells: else it is hotter than what would come.
Room is made once per activation, so without activations nothing leaves, and a memory that is full and quiet stays
as it is. What this costs in hits and gains in waiting: docs/policies.md.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from overbook.residency.effects import Cause
from overbook.residency.events import ModelName
from overbook.residency.planning import plan_victims
from overbook.residency.promises import Promises, idle
from overbook.residency.replica import ReplicaState
from overbook.residency.together import in_turn

# Never more than this share of the budget: room that nobody uses costs hits.
_SHARE: Final = 1 / 20
# Candidates looked at: a set that needs more is no small thing to evict for nobody.
_LOOKED_AT: Final = 32
# A victim has not been used for so many gaps between activations.
_GAPS: Final = 2.0
# Where nearly everything fits, most of what would leave ahead of demand is asked for again before anybody else. So
# there must be so many times the room's size of cold models.
_COLD: Final = 8


def headroom(replica: ReplicaState) -> int:
    """Bytes to keep free for activations to come; 0 until there was one."""
    wanted = replica.limits.headroom * replica.demand.size
    return int(min(wanted, replica.ledger.budget * _SHARE))


def make_room_ahead(replica: ReplicaState, promises: Promises, now: float) -> None:
    """An activation took room: make some for the next, when nobody waits for room now."""
    if promises.blocked or replica.pending or replica.stale:
        return
    replica.room_due = False
    wanted = headroom(replica)
    cold = replica.by_size.total - replica.ledger.total
    if cold < _COLD * wanted:
        return
    leaving = idle(replica, promises, now, None, certainly=True)
    candidates = islice(in_turn(replica, promises, leaving), _LOOKED_AT)
    victims = plan_victims(wanted - promises.spare, candidates)
    if victims is not None and all(_colder(replica, victim.model, now) for victim in victims):
        promises.choose(victims, Cause.AHEAD)
    promises.spare -= wanted  # it is not superfluous


def _colder(replica: ReplicaState, model: ModelName, now: float) -> bool:
    """Whether a cold model is likely to be asked for before this one."""
    entry = replica.entries[model]
    return entry.last_used <= now - _GAPS * replica.demand.gap and not entry.kept_alive(now)
