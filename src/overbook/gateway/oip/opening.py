"""Sends the initial metadata of the answer to a stream, once, and not later than is good for the stream.

Envoy ends a request that is not whole after a time, unless its answer has begun, and a stream of gRPC may never be
whole: so its answer begins before that, without metadata where the server has not sent any.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc

from overbook.gateway.oip.hops import Metadata


class Opening:
    """``seconds``: after which the answer begins in any case."""

    def __init__(self, context: grpc.aio.ServicerContext[bytes, bytes], seconds: float) -> None:
        self._context = context
        self._seconds = seconds
        self._sent = False

    def passed(self) -> None:
        """The answer begins with a message."""
        self._sent = True

    async def send(self, metadata: Metadata) -> None:
        """Unless the answer has begun."""
        if not self._sent:
            self._sent = True
            await self._context.send_initial_metadata(metadata)

    @contextlib.asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """While the block runs the answer begins when it is time."""
        waiting = asyncio.create_task(self._wait(), name="stream opening")
        try:
            yield
        finally:
            waiting.cancel()
            await asyncio.wait({waiting})

    async def _wait(self) -> None:
        await asyncio.sleep(self._seconds)
        await self.send(())
