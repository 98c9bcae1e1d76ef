"""Tells the scheduler, and through it people, what this machine does before an agent can run: the latest of each server
replica, as soon as there is a scheduler to hear it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import grpc.aio

from overbook.wire import common_pb2 as common
from overbook.wire import scheduler_pb2 as pb

log = logging.getLogger(__name__)

_AGAIN: Final = 1.0
_PAUSE: Final = 0.2  # between two messages of an installation


class News:
    """Make it inside the event loop that uses it."""

    def __init__(self) -> None:
        self._latest: dict[tuple[str, int], tuple[str, bool]] = {}
        self._untold: dict[tuple[str, int], None] = {}
        self._more = asyncio.Event()

    def put(self, server: str, replica: int, text: str, *, failed: bool = False) -> None:
        """An empty text says that nothing is to be told any more."""
        key = (server, replica)
        if self._latest.get(key, ("", False)) != (text, failed):
            self._latest[key] = (text, failed)
            self._untold[key] = None
            self._more.set()

    def all_again(self) -> None:
        """The scheduler may be another one, which has heard nothing."""
        self._untold.update(dict.fromkeys(self._latest))
        self._more.set()

    async def run(self, tell: Callable[[pb.ReplicaNews], Awaitable[object]]) -> None:
        """Tells by ``tell``, which raises AioRpcError while there is no scheduler; until cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            for server, replica in tuple(self._untold):
                text, failed = self._latest[server, replica]
                del self._untold[server, replica]
                message = pb.ReplicaNews(
                    replica=common.ReplicaRef(server=server, replica=replica),
                    text=text,
                    failed=failed,
                )
                try:
                    await tell(message)
                except grpc.aio.AioRpcError as error:
                    log.debug("no scheduler to tell news: %s", error.details())
                    self._untold[server, replica] = None
                    self._more.set()
                    await asyncio.sleep(_AGAIN)
            await asyncio.sleep(_PAUSE)
