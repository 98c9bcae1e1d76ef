"""The page of metrics of a process: Overbook's own, and what its agents' inference servers measure."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Final, Protocol

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from overbook.metrics import REGISTRY
from overbook.metrics.families import Family, Names, merged, text_of

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

log = logging.getLogger(__name__)


class Source(Protocol):
    """Somebody who has series for the page."""

    async def families(self) -> list[Family]:
        """Bounded in time and number. Their names are claimed from the page's `Names`."""
        ...


class Page:
    """``names``: of all that its sources show."""

    def __init__(self) -> None:
        self.names: Final = Names()
        self._sources: list[Source] = []

    @contextlib.contextmanager
    def showing(self, source: Source) -> Iterator[None]:
        """What the source has is on the page while the block runs."""
        self._sources.append(source)
        try:
            yield
        finally:
            self._sources.remove(source)

    async def text(self) -> bytes:
        """Ask all sources at once. One that fails is left out, and the others are shown."""
        asked = list(self._sources)
        answers = await asyncio.gather(
            *(source.families() for source in asked), return_exceptions=True
        )
        families: list[Family] = []
        for answer in answers:
            if isinstance(answer, list):
                families += answer
            elif not isinstance(answer, asyncio.CancelledError):  # its agent has just ended
                log.error("metrics of models are left out of the page", exc_info=answer)
        # In a thread: of thousands of models it is long, and requests would wait for it.
        return await asyncio.to_thread(_written, families)


def _written(families: list[Family]) -> bytes:
    return generate_latest(REGISTRY) + text_of(merged(families)).encode("utf-8", "replace")


# Of this process.
PAGE: Final = Page()
