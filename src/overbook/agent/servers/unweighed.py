"""What servers say that cannot load a model in a fresh process, nor tell what they are doing: nothing.

Adapters of such servers inherit it.
"""

from __future__ import annotations

from overbook.agent.deaths import Calls
from overbook.agent.servers.protocol import PreparedModel, Weight


class Unweighed:
    """A part of an `InferenceServer`."""

    def open_calls(self) -> Calls | None:
        return None

    @property
    def weighs(self) -> bool:
        return False

    async def weigh(
        self, model: PreparedModel, *, timeout: float, request: bytes | None = None
    ) -> Weight | None:
        return None

    async def sample(self, name: str) -> bytes | None:
        return None

    async def grown(self, name: str) -> int | None:
        return None

    async def borrowed(self) -> int:
        return 0
