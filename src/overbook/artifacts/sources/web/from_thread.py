"""Lets a client of others, which blocks its thread, ask by the downloader: by its rules and within its bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future

from overbook.artifacts.sources.web.download import Answer, Downloader, Question


class FromThread:
    """For one thread at a time. ``loop``: where the downloader lives."""

    def __init__(self, downloader: Downloader, loop: asyncio.AbstractEventLoop) -> None:
        self._downloader = downloader
        self._loop = loop
        self._closed = False
        self._asked: Future[Answer] | None = None

    def ask(self, url: str, headers: Mapping[str, str], question: Question) -> Answer:
        """See `Downloader.ask`. Raises SourceError, and concurrent.futures.CancelledError where it is closed."""
        asking = self._downloader.ask(url, headers, question)
        self._asked = asyncio.run_coroutine_threadsafe(asking, self._loop)
        if self._closed:
            self._asked.cancel()
        return self._asked.result()

    def close(self) -> None:
        """What is being asked ends, and the thread that waits for it goes on. From any thread."""
        self._closed = True
        if self._asked is not None:
            self._asked.cancel()
