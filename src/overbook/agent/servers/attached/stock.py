"""What follows from a look at the models in an attached server: whose they are, and what becomes of ours. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from overbook.agent.servers.attached.folder import TEMPORARY, Placed
from overbook.agent.servers.protocol import Presence


@dataclass(frozen=True, slots=True)
class Stock:
    """Of ours, by name. ``stuck``: being loaded, for somebody who is not there any more. ``inherited``: loaded, with
    the digest of what was published. ``leaving``: neither, so they are taken away.
    """

    stuck: frozenset[str]
    inherited: Mapping[str, str]
    leaving: tuple[str, ...]


def take_stock(found: Mapping[str, Presence], placed: Mapping[str, Placed]) -> Stock:
    """``found``: what the server's index says; ``placed``: what we have put into its folder."""
    states = {name: found.get(name, Presence.ABSENT) for name in placed}
    stuck = frozenset(name for name, state in states.items() if state is Presence.LOADING)
    inherited = {
        name: each.published
        for name, each in placed.items()
        if states[name] is Presence.READY and each.whole
    }
    leaving = tuple(name for name in placed if name not in stuck and name not in inherited)
    return Stock(stuck, inherited, leaving)


def foreign(found: Mapping[str, Presence], placed: Set[str]) -> dict[str, Presence]:
    """Models that Overbook did not put there, in the order of their names."""
    return {
        name: state
        for name, state in sorted(found.items())
        if name and name not in placed and not name.startswith(TEMPORARY)
    }


def lost(held: Set[str], found: Mapping[str, Presence]) -> list[str]:
    """Those of the models that were loaded which the server does not hold any more, sorted."""
    return sorted(name for name in held if found.get(name, Presence.ABSENT) is Presence.ABSENT)
