"""Whose files leave a disk that has no room for more. Pure: who uses what, and the time, are told.

Files of models in memory, of pinned ones and of those that are just being read never leave; which models leave memory
for the sake of their files is told in `relief`. Of the others those go first whose return would cost least for each
byte that they free, by how long nobody has asked for them. What is left of fetches that were broken off goes before all
of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from overbook.manifests.quantities import format_bytes

# Seconds; a model that was used a moment ago is worth no more than one that was used a second ago.
_LEAST_AGE: Final = 1.0
# Bytes per second that are reckoned with where nobody knows how long a fetch took.
_USUAL_RATE: Final = 50_000_000
# Seconds that any fetch costs, however small.
_FETCH_AT_LEAST: Final = 0.05
# Contents that are told by whose they are; the others are counted.
_NAMED: Final = 5


class Hold(IntEnum):
    """Why files must stay, the weakest first."""

    NONE = 0  # they can be fetched again
    BRIEFLY = 1  # somebody reads them, or waits for them, at this moment
    FIRM = 2  # their model is in memory, or pinned


class Kept(NamedTuple):
    """An artifact on this disk. ``last_used``: seconds, of any clock; ``fetch_seconds``: that its fetch took, None when
    nobody knows. ``half``: it is what is left of a fetch that was broken off; ``digest`` is the key of that.
    ``models``: because of which it stays, for people. ``in_memory``: those that hold it firmly, by agent, if it would
    be free without them; else empty.
    """

    digest: str
    bytes: int
    hold: Hold
    last_used: float
    fetch_seconds: float | None = None
    half: bool = False
    models: frozenset[str] = frozenset()
    in_memory: Mapping[str, Set[str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Leaving:
    """``digests``: that make the room, in order; empty where there is none to make. ``missing``: bytes that remain to
    be found, ``firm``: those that are held firmly, and ``lasting``: of these the ones that stay also when idle models
    leave memory.
    """

    digests: tuple[str, ...] = ()
    missing: int = 0
    firm: int = 0
    lasting: int = 0


def leaving(kept: Iterable[Kept], *, budget: int, needed: int, now: float) -> Leaving:
    """What has to leave so that ``needed`` more bytes stay within the ``budget``; nothing where that cannot succeed."""
    every = list(kept)
    over = sum(each.bytes for each in every) + needed - budget
    held = [each for each in every if each.hold is Hold.FIRM]
    firm = sum(each.bytes for each in held)
    lasting = sum(each.bytes for each in held if not each.in_memory)
    if over <= 0:
        return Leaving(firm=firm, lasting=lasting)
    free = sorted(
        (each for each in every if each.hold is Hold.NONE), key=lambda each: _worth(each, now)
    )
    chosen: list[Kept] = []
    for each in free:
        if over <= 0:
            break
        chosen.append(each)
        over -= each.bytes
    if over > 0:
        return Leaving(missing=over, firm=firm, lasting=lasting)
    # The last ones may have made others needless, of which the dearest stay.
    for each in reversed(list(chosen)):
        if each.bytes <= -over:
            chosen.remove(each)
            over += each.bytes
    return Leaving(tuple(each.digest for each in chosen), firm=firm, lasting=lasting)


def held_by(kept: Iterable[Kept]) -> str:
    """Whose files may not leave, the largest first: `a 4GiB, b (pinned) 1GiB and 3 more`; "" where all may."""
    firm = sorted(
        (each for each in kept if each.hold is Hold.FIRM),
        key=lambda each: (-each.bytes, each.digest),
    )
    named = [f"{_whose(each)} {format_bytes(each.bytes)}" for each in firm[:_NAMED]]
    more = f" and {len(firm) - _NAMED} more" if len(firm) > _NAMED else ""
    return f"{', '.join(named)}{more}"


def _whose(kept: Kept) -> str:
    return " and ".join(sorted(kept.models)) or "a model of an agent that is away"


def _worth(kept: Kept, now: float) -> tuple[bool, float, str]:
    """Seconds that its return would cost for each byte, for each second in which nobody wanted it."""
    seconds = kept.bytes / _USUAL_RATE if kept.fetch_seconds is None else kept.fetch_seconds
    age = max(_LEAST_AGE, now - kept.last_used)
    cost = max(_FETCH_AT_LEAST, seconds) / max(1, kept.bytes) / age
    return (not kept.half, cost, kept.digest)
