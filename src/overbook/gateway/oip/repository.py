"""Load and unload of a model by the protocol: what `overbook activate` and `evict` do, where its Server allows it.

They change who is in memory, and nothing else: to everybody the model stays registered, and a request brings it back.
Knows no transport.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from overbook.gateway.oip.answers import Answers
from overbook.gateway.oip.errors import BadRequest, NotAllowed, NotAvailable
from overbook.gateway.oip.passed_on import check_allowed
from overbook.gateway.oip.ports import AllowedView, Residency
from overbook.runtimes.server_kinds import REPOSITORY
from overbook.wire.limits import MAX_SHOWN

# What a model calls leaves memory with it anyway, where nothing else calls it.
_DEPENDENTS: Final = "unload_dependents"


class RepositoryControl:
    """``parameters``: the names of what a call bears beside the model."""

    def __init__(self, answers: Answers, allowed: AllowedView, residency: Residency) -> None:
        self._answers = answers
        self._allowed = allowed
        self._residency = residency

    async def load(self, name: str, parameters: Collection[str]) -> None:
        """Returns when the model is in memory on all its replicas. Raises NoAnswer."""
        self._check("load", name)
        if parameters:
            raise NotAllowed(
                f"load of model {name!r} with {_shown(parameters)} refused: its configuration and its files are "
                "those of its manifest; change them there, apply it, and load it without parameters"
            )
        await self._residency.load(name)

    async def unload(self, name: str, parameters: Collection[str]) -> None:
        """Returns when the model's memory is given back on all its replicas. Raises NoAnswer."""
        self._check("unload", name)
        unknown = [each for each in parameters if each != _DEPENDENTS]
        if unknown:
            raise BadRequest(f"parameters: {_shown(unknown)} is not known; expected {_DEPENDENTS}")
        await self._residency.unload(name)

    def _check(self, verb: str, name: str) -> None:
        """Whether its Servers allow it. Raises NoAnswer."""
        entry = self._answers.model(name)
        if not self._allowed.servers(REPOSITORY):
            raise self._answers.refuse_repository(verb, name)
        check_allowed(self._allowed, name, REPOSITORY)
        if not entry.available:
            raise NotAvailable(f"model {name!r} is not available: {entry.reason}")


def _shown(names: Collection[str]) -> str:
    return ", ".join(repr(each) for each in sorted(names))[:MAX_SHOWN]
