"""Fairness: whoever waited too long for a model gets its room from models that are in use.

Theory of operation. A model that needs nearly the whole budget would have to find all others idle at one moment;
under constant traffic on small ones that never comes. So when its oldest waiter has run out of patience, the whole
victim set is planned once more, over all residents but pinned ones, idle ones first. Those in use are withdrawn
like any others: what they have in flight ends, and new requests for them wait their turn behind the one that
waited longest, instead of rescuing them; but who was granted one of them before goes through first (law 9). Bytes
that come back meanwhile are held for it. There is one claim at a time, that of the first in line. One that could be
met only at the end of a load that takes long holds up nobody but further long loads.
"""

from __future__ import annotations

from itertools import chain

from overbook.residency import next_load
from overbook.residency.effects import Cause
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName
from overbook.residency.planning import Candidate, plan_victims
from overbook.residency.promises import Promises, idle, in_use
from overbook.residency.replica import ReplicaState
from overbook.residency.together import in_turn


def claim(replica: ReplicaState, entry: Entry, promises: Promises, now: float) -> None:
    """Make the room that the model waited for too long, from whoever has it."""
    promises.claimed = promises.blocked = True
    leaving = sum(
        replica.ledger.of(each.model) for each in replica.draining.values() if each.in_use
    )
    needs = next_load.needs(replica, entry)
    missing = needs - promises.spare - leaving
    if missing > 0:
        used = (each for each in in_use(replica, now) if each.model not in promises.kept)
        leaving_first = chain(idle(replica, promises, now, entry), used)
        victims = plan_victims(missing, in_turn(replica, promises, leaving_first))
        if victims is not None:
            _take(replica, promises, victims, entry.model)
        elif promises.places.long_running:
            # Others go on while that lasts, and may claim; but no further long one begins, or it would always be so.
            promises.claimed = False
            promises.places.close(all_of_them=False)
            return
        else:
            # The rest is loading now, and will be here soon. Nobody else may begin meanwhile, or it would always be so.
            promises.places.close(all_of_them=True)
    # In a deficit both are below 0, and stay so.
    promises.spare -= max(0, min(promises.spare, needs))
    promises.free -= max(0, min(promises.free, needs))
    promises.places.promise(needs, long=replica.takes_long(entry))


def _take(
    replica: ReplicaState,
    promises: Promises,
    victims: tuple[Candidate, ...],
    room_for: ModelName,
) -> None:
    busy = {victim.model for victim in victims if replica.entries[victim.model].in_use}
    idle_ones = (victim for victim in victims if victim.model not in busy)
    promises.choose(idle_ones, Cause.FAIRNESS, room_for)
    for victim in victims:
        if victim.model in busy:
            promises.victims[victim.model] = Cause.FAIRNESS  # its bytes come when it is idle
            promises.room_for[victim.model] = room_for
