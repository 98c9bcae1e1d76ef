"""Who may take a model: one function per rule, each refusal with its reason in numbers.

Order is part of the meaning: the first rule that refuses is the one people read, so what a person
must change comes before what changes by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from overbook.manifests.quantities import amount
from overbook.manifests.requirements import (
    is_versioned,
    plain_word,
    unmet,
    versions_offered,
    words_offered,
)
from overbook.placement.views import ModelDemand, ReplicaView


class Rule(Enum):
    """Which rule refused; stable words for programs."""

    OTHER_SERVER = "OtherServer"
    NOT_CONNECTED = "NotConnected"
    MISSING_CAPABILITY = "MissingCapability"
    OTHER_FORMAT = "OtherFormat"
    NAME_TAKEN = "NameTaken"
    CALLEE_ELSEWHERE = "CalleeElsewhere"
    DRAINING = "Draining"
    TOO_LARGE = "TooLarge"
    NO_ROOM = "NoRoom"


@dataclass(frozen=True, slots=True)
class Unfit:
    """``reason`` is for people and begins with what is wrong, not with the replica's name."""

    rule: Rule
    reason: str


def _pinned_elsewhere(model: ModelDemand, replica: ReplicaView) -> Unfit | None:
    if model.server is None or model.server == replica.id.server:
        return None
    return Unfit(Rule.OTHER_SERVER, f"the model asks for server {model.server!r}")


def _not_connected(model: ModelDemand, replica: ReplicaView) -> Unfit | None:
    # Who holds the model keeps it: an agent that restarts must not lose its models.
    if replica.connected or replica.holds:
        return None
    return Unfit(Rule.NOT_CONNECTED, "its agent is not connected")


def _missing_capability(model: ModelDemand, replica: ReplicaView) -> Unfit | None:
    # Capabilities are told by the agent; of one that is away, nothing is known.
    if not replica.connected or model.requirements <= replica.capabilities:
        return None
    missing = unmet(model.requirements, replica.capabilities)
    if not missing:
        return None
    offered = ", ".join(words_offered(replica.capabilities)) or "nothing"
    has = "".join(f"; {each}" for each in _versions_here(missing, replica.capabilities))
    return Unfit(
        Rule.MISSING_CAPABILITY, f"lacks {', '.join(missing)}{has or f'; offers {offered}'}"
    )


def _versions_here(missing: Iterable[str], offered: frozenset[str]) -> Iterator[str]:
    for word in filter(is_versioned, missing):
        found = versions_offered(word, offered)
        yield (
            f"has {plain_word(word)} {' and '.join(found)}"
            if found
            else f"has no {plain_word(word)}"
        )


def _other_format(model: ModelDemand, replica: ReplicaView) -> Unfit | None:
    # Weights can often be read by both, so requirements decide; code is written against one of them.
    if model.made_for in ("", replica.runtime):
        return None
    if "python" in model.requirements:
        what = f"the model's code is written for {model.made_for}"
    elif not model.requirements:
        what = f"the model's files are laid out for {model.made_for}, and it has no requirements"
    else:
        return None
    return Unfit(Rule.OTHER_FORMAT, f"{what}; this is {replica.runtime}")


def _name_taken(model: ModelDemand, replica: ReplicaView) -> Unfit | None:
    if replica.holds or model.name not in replica.foreign:
        return None
    return Unfit(
        Rule.NAME_TAKEN,
        "the attached server has a model of this name that Overbook did not put there; "
        "choose another name, or take that one away",
    )


def _callee_elsewhere(model: ModelDemand, replica: ReplicaView) -> Unfit | None:
    # One model calls another within the process of their server.
    if not replica.lacking:
        return None
    listed = ", ".join(repr(each) for each in replica.lacking)
    return Unfit(Rule.CALLEE_ELSEWHERE, f"{listed}, which the model calls, is not assigned to it")


def _draining(model: ModelDemand, replica: ReplicaView) -> Unfit | None:
    return Unfit(Rule.DRAINING, "it is being taken away") if replica.draining else None


def _has_its_place(model: ModelDemand, replica: ReplicaView) -> bool:
    """Whether it was admitted here and asks for no more: what was measured since takes nobody's place away."""
    return replica.holds and model.size <= replica.held


def _too_large(model: ModelDemand, replica: ReplicaView) -> Unfit | None:
    if model.taken <= replica.budget or _has_its_place(model, replica):
        return None
    return Unfit(
        Rule.TOO_LARGE,
        f"needs {amount(model.taken)}, more than the whole budget of {amount(replica.budget)}",
    )


def _no_room(model: ModelDemand, replica: ReplicaView) -> Unfit | None:
    limit = replica.limit
    if replica.registered + model.size <= limit or _has_its_place(model, replica):
        return None
    models = "1 model" if replica.models == 1 else f"{replica.models} models"
    return Unfit(
        Rule.NO_ROOM,
        f"{amount(replica.registered)} registered in {models} + "
        f"{amount(model.size)} needed is more than {amount(limit)}, its budget of "
        f"{amount(replica.budget)} with {replica.overcommit_percent} % overcommit",
    )


_FILTERS: Final[tuple[Callable[[ModelDemand, ReplicaView], Unfit | None], ...]] = (
    _pinned_elsewhere,
    _draining,
    _not_connected,
    _missing_capability,
    _other_format,
    _name_taken,
    _callee_elsewhere,
    _too_large,
    _no_room,
)


def worth_waiting_for(model: ModelDemand, replica: ReplicaView) -> bool:
    """Whether a replica that is not connected is about to be, and would have room then."""
    return replica.awaited and not (_too_large(model, replica) or _no_room(model, replica))


def refusal(model: ModelDemand, replica: ReplicaView) -> Unfit | None:
    """The first rule that keeps the model off the replica, None when it may go there."""
    for rule in _FILTERS:
        refused = rule(model, replica)
        if refused is not None:
            return refused
    return None
