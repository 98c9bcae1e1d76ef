"""Counts streams of requests as present (see `traffic`) while they are open, whichever port they came by.

gRPC's come to MLServer's own port, past the endpoint for gateways; all go through the data plane.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

from mlserver.types import InferenceRequest, InferenceResponse

from overbook_mlserver import calls
from overbook_mlserver.books import Books
from overbook_mlserver.traffic import Traffic

_Stream = Callable[
    [AsyncIterator[InferenceRequest], str, str | None], AsyncIterator[InferenceResponse]
]


class Streams:
    """``infer_stream``: the data plane's."""

    def __init__(self, traffic: Traffic, books: Books, infer_stream: _Stream) -> None:
        self._traffic = traffic
        self._books = books
        self._infer_stream = infer_stream

    async def infer_stream(
        self, payloads: AsyncIterator[InferenceRequest], name: str, version: str | None = None
    ) -> AsyncIterator[InferenceResponse]:
        """What the data plane's does."""
        model = name.encode()
        self._traffic.enter(model, None)
        book, begun = self._books.of(name), time.perf_counter()
        failed = True
        try:
            answers = self._infer_stream(payloads, name, version)
            while True:
                try:
                    answer = await calls.during(calls.REQUEST, name, answers.__anext__())
                except StopAsyncIteration:
                    failed = False
                    break
                yield answer
        finally:
            if book is not None:
                book.asked(time.perf_counter() - begun, failed=failed)
            self._traffic.leave(model)
