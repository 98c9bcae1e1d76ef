"""Choosing victims: the whole set before anything is evicted, or nothing at all (law 2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from overbook.residency.events import ModelName


class Candidate(NamedTuple):
    """``callers``: models that must leave for it to leave; they come before it."""

    model: ModelName
    size: int
    callers: tuple[ModelName, ...] = ()


def plan_victims(shortfall: int, candidates: Iterable[Candidate]) -> tuple[Candidate, ...] | None:
    """The models to evict so that at least ``shortfall`` bytes come back, or None when they do not suffice.

    ``candidates`` come in eviction order and are consumed only as far as needed. The set is minimal: leaving out
    any member would not suffice, or leave a caller behind, and of two members that could be spared the later in
    eviction order is spared.
    """
    if shortfall <= 0:
        return ()
    chosen: list[Candidate] = []
    total = 0
    for candidate in candidates:
        if candidate.size == 0:
            continue
        chosen.append(candidate)
        total += candidate.size
        if total >= shortfall:
            break
    else:
        return None
    kept: list[Candidate] = []
    needed: set[ModelName] = set()  # callers of those that leave
    for candidate in reversed(chosen):
        if total - candidate.size >= shortfall and candidate.model not in needed:
            total -= candidate.size
        else:
            kept.append(candidate)
            needed.update(candidate.callers)
    kept.reverse()
    return tuple(kept)
