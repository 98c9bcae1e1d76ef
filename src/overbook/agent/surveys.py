"""Looks at artifacts where they are, for a scheduler that may be elsewhere. What follows is decided there.

A disk that hangs takes a thread for as long as it hangs, so these threads are nobody else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from overbook.agent.looking import told
from overbook.agent.servers.factory import callees
from overbook.artifacts.address import plain
from overbook.artifacts.survey import Survey, survey
from overbook.wire import scheduler_pb2 as pb

_AT_ONCE: Final = 4
# Seconds for one address: names, sizes and times are read, never contents.
LONGEST: Final = 10.0


def seen(storage_uri: str) -> Survey | str:
    """The survey of an address, with the models that its files call."""
    found = survey(storage_uri)
    if isinstance(found, str):
        return found
    return replace(found, callees=callees(Path(plain(storage_uri))))


class Surveys:
    """Answers `Look` by ``look``, which blocks; what takes longer than ``longest`` seconds fails alone."""

    def __init__(
        self, look: Callable[[str], Survey | str] = seen, *, longest: float = LONGEST
    ) -> None:
        self._look = look
        self._longest = longest
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="overbook-survey")

    async def of(self, asked: pb.Look) -> pb.Surveys:
        found = [pb.ArtifactSurvey() for _ in asked.artifacts]
        todo = enumerate(each.storage_uri for each in asked.artifacts)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE):
                tasks.create_task(self._work(todo, found))
        return pb.Surveys(id=asked.id, artifacts=found)

    async def _work(self, todo: Iterator[tuple[int, str]], found: list[pb.ArtifactSurvey]) -> None:
        loop = asyncio.get_running_loop()
        for index, uri in todo:
            try:
                async with asyncio.timeout(self._longest):
                    seen = await loop.run_in_executor(self._threads, self._look, uri)
            except TimeoutError:
                seen = f"looking at {uri} did not end within {self._longest:g} s; check its disk"
            found[index] = survey_message(seen)

    def close(self) -> None:
        """Waits for nobody: a thread may hang for as long as its disk does."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def survey_message(found: Survey | str) -> pb.ArtifactSurvey:
    if isinstance(found, str):
        return pb.ArtifactSurvey(error=told(found))
    return pb.ArtifactSurvey(
        bytes=found.bytes,
        fingerprint=found.fingerprint,
        made_for=found.made_for,
        callees=found.callees,
    )
