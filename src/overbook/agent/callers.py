"""Tells whose callees have come to stand in its way, or do so no more: nothing of the model itself changed then.

What stands in the way is the core's to say (`residency.together`), and what is told of it is in `reports`.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from overbook.agent.notices import Notices
from overbook.residency.events import ModelName

# Seconds between looks.
_LOOK: Final = 1.0


class Knowing(Protocol):
    """The actor, as far as it matters here."""

    def hopeless_callers(self) -> dict[ModelName, str]: ...


class Callers:
    """Of one server replica. `run` it."""

    def __init__(self, actor: Knowing, notices: Notices) -> None:
        self._actor = actor
        self._notices = notices
        self._told: dict[ModelName, str] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            before, self._told = self._told, self._actor.hopeless_callers()
            for model, _ in before.items() ^ self._told.items():
                self._notices.changed(model)
