"""The whole answer of a placement: every replica chosen or refused, with its reason, and one line of all."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from overbook.manifests.quantities import amount
from overbook.placement.advice import nobody_offers
from overbook.placement.filters import Rule, Unfit
from overbook.placement.views import ModelDemand, Provider, ReplicaId, ReplicaView, Unseen

# A line for people: of a hundred replicas, three reasons say enough (all are in `decisions`).
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Decision:
    """One replica's answer, with the numbers (bytes) that it rests on. ``rule``: None when not refused."""

    replica: ReplicaId
    chosen: bool
    reason: str
    rule: Rule | None
    registered: int
    limit: int
    budget: int
    models: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """``chosen``: where the model shall be, best first; fewer than ``needed`` when it is not placed."""

    model: str
    size: int
    wanted: int
    needed: int
    chosen: tuple[ReplicaId, ...]
    decisions: tuple[Decision, ...]
    reason: str
    unseen: Unseen | None = None

    @property
    def placed(self) -> bool:
        return len(self.chosen) >= self.needed

    @property
    def complete(self) -> bool:
        """As many replicas as were wanted, not only as many as are needed."""
        return len(self.chosen) >= self.wanted

    @property
    def waiting(self) -> bool:
        """Not placed, but it may be as soon as agents connect: nobody has to do anything."""
        if self.unseen is not None:
            return self.unseen.waiting and not self.placed
        possible = (None, Rule.NOT_CONNECTED)
        return (
            not self.placed
            and sum(1 for each in self.decisions if each.rule in possible) >= self.needed
        )


def shortage(
    model: ModelDemand,
    views: Iterable[ReplicaView],
    refused: Iterable[tuple[ReplicaView, Unfit]],
    chosen: int,
    providers: Sequence[Provider] = (),
) -> str:
    """One line: why the model has fewer replicas than wanted, and what to do about it."""
    every = tuple(views)
    if not every:
        return "there is no server replica; apply a Server with replicas of 1 or more"
    if model.unregistered:
        listed = ", ".join(repr(each) for each in model.unregistered)
        one = len(model.unregistered) == 1
        rest = "is not registered; apply that" if one else "are not registered; apply them"
        return f"the model calls {listed}, which {rest} first"
    if model.server is not None and all(each.id.server != model.server for each in every):
        return _no_such_server(model.server, {each.id.server for each in every})
    reasons = [(view, each) for view, each in refused if each.rule is not Rule.OTHER_SERVER]
    if not chosen and reasons and all(each.rule is Rule.MISSING_CAPABILITY for _, each in reasons):
        return nobody_offers(model, [view for view, _ in reasons], providers)
    if not chosen and reasons and all(each.rule is Rule.TOO_LARGE for _, each in reasons):
        largest = max(reasons, key=lambda pair: pair[0].budget)[0]
        return (
            f"the model needs {amount(model.taken)}, more than every budget; the largest is "
            f"{amount(largest.budget)} of {largest.id}; give a Server more memory"
        )
    head = f"{chosen} of {model.replicas} replicas placed"
    texts = [f"{view.id}: {each.reason}" for view, each in reasons[:_SHOWN]]
    if len(reasons) > _SHOWN:
        texts.append(f"and {len(reasons) - _SHOWN} more")
    if not reasons:
        only = "is only 1 server replica" if chosen == 1 else f"are only {chosen} server replicas"
        texts.append(f"there {only} it may go to")
    return f"{head}; {'; '.join(texts)}"


def _no_such_server(wanted: str, known: set[str]) -> str:
    close = difflib.get_close_matches(wanted, sorted(known), n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"
    return f"spec.server: there is no server {wanted!r} with replicas; {hint}"
