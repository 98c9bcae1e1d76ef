"""Who law 4 says must leave, worked out the plain way."""

from __future__ import annotations

from collections.abc import Mapping

from overbook.residency.events import ModelName


def first_that_suffice(charges: Mapping[ModelName, int], missing: int) -> list[ModelName]:
    """The first in order until so many bytes come back, without those whom a later one made superfluous."""
    chosen: list[ModelName] = []
    for name in charges:
        if sum(charges[one] for one in chosen) >= missing:
            break
        chosen.append(name)
    for name in reversed(tuple(chosen)):
        if sum(charges[one] for one in chosen if one != name) >= missing:
            chosen.remove(name)
    return chosen
