"""Lines of inference servers' logs, for people: read by the agents, asked for here until there are some.

Who waits for lines costs a question to an agent now and then, so only so many may wait at once.
"""

from __future__ import annotations

import asyncio
from typing import Final

from overbook.placement import ReplicaId
from overbook.scheduler.bodies import LogAnswer
from overbook.scheduler.errors import TooMany, Unavailable
from overbook.scheduler.links import Links
from overbook.wire import scheduler_pb2 as pb

READERS: Final = 16
_ANSWER_SECONDS: Final = 10.0
# How soon new lines are seen.
_LOOK_SECONDS: Final = 0.25


class Logs:
    """Reads through the agents' sessions. ``readers``: how many may read or wait at once."""

    def __init__(self, links: Links, readers: int = READERS) -> None:
        self._links = links
        self._readers = readers
        self._reading = 0
        self._stopping = asyncio.Event()

    def stop_waiting(self) -> None:
        """From now on nobody waits for lines: the scheduler is about to stop."""
        self._stopping.set()

    async def read(
        self, replica: ReplicaId, *, after: str, lines: int, model: str, wait: float
    ) -> LogAnswer:
        """The last lines, or what came ``after`` a place; when that is nothing yet, waits up to ``wait`` seconds.

        Raises TooMany, Unavailable.
        """
        if self._reading >= self._readers:
            raise TooMany(
                f"{self._readers} others read logs already; try again when one of them has ended"
            )
        self._reading += 1
        try:
            piece = await self._read(replica, after, lines, model, wait)
        finally:
            self._reading -= 1
        text = piece.text.decode("utf-8", "replace")
        return {
            "replica": str(replica),
            "path": piece.path,
            "lines": text.removesuffix("\n").split("\n") if text else [],
            "next": piece.next,
            "missed": piece.missed,
        }

    async def _read(
        self, replica: ReplicaId, after: str, lines: int, model: str, wait: float
    ) -> pb.LogPiece:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            asked = pb.ReadLog(after=after, lines=lines, model=model)
            piece = await self._links.read_log(replica, asked, _ANSWER_SECONDS)
            if piece.error:
                raise Unavailable(f"{replica}: {piece.error}")
            left = deadline - loop.time()
            if piece.text or piece.missed or left <= 0 or self._stopping.is_set():
                return piece
            after = piece.next
            try:
                async with asyncio.timeout(min(left, _LOOK_SECONDS)):
                    await self._stopping.wait()
            except TimeoutError:
                continue
