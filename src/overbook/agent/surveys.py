"""Looks at artifacts where they are, for a scheduler that may be elsewhere. What follows is decided there.

A disk that hangs takes a thread for as long as it hangs, so these threads are nobody else's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from overbook.agent.looking import told
from overbook.agent.servers.factory import callees
from overbook.artifacts.address import Asked, is_remote, local_path
from overbook.artifacts.errors import ArtifactError, SourceError
from overbook.artifacts.survey import NotNow, Survey, survey
from overbook.wire import scheduler_pb2 as pb

log = logging.getLogger(__name__)

_AT_ONCE: Final = 4
# Of addresses elsewhere: their source bounds how many it is asked at a time, and asks for many together.
_REMOTE_AT_ONCE: Final = 512
# Seconds for one address: names, sizes and times are read, never contents.
LONGEST: Final = 10.0
LONGEST_REMOTE: Final = 50.0


def seen(asked: Asked, machine: str = "") -> Survey | str:
    """The survey of an address of this machine, with the models that its files call."""
    found = survey(asked.storage_uri, asked.version, machine)
    if isinstance(found, str):
        return found
    return replace(found, callees=callees(Path(local_path(asked.storage_uri, machine))))


class Surveys:
    """Answers `Look`: by ``here``, which blocks, for files of this machine, by ``elsewhere`` for others.

    What takes longer than ``longest`` seconds (``longest_remote`` elsewhere) fails alone.
    """

    def __init__(
        self,
        here: Callable[[Asked], Survey | str],
        elsewhere: Callable[[Asked], Awaitable[Survey]],
        *,
        longest: float = LONGEST,
        longest_remote: float = LONGEST_REMOTE,
    ) -> None:
        self._here = here
        self._elsewhere = elsewhere
        self._longest = longest
        self._longest_remote = longest_remote
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="overbook-survey")
        self._local = asyncio.Semaphore(_AT_ONCE)
        self._remote = asyncio.Semaphore(_REMOTE_AT_ONCE)

    async def of(self, asked: pb.Look) -> pb.Surveys:
        async with asyncio.TaskGroup() as tasks:
            looks = [tasks.create_task(self._look(_asked(each))) for each in asked.artifacts]
        return pb.Surveys(id=asked.id, artifacts=[survey_message(each.result()) for each in looks])

    async def _look(self, asked: Asked) -> Survey | NotNow | str:
        if not is_remote(asked.storage_uri):
            async with self._local:
                return await self._look_here(asked)
        async with self._remote:
            return await self._look_elsewhere(asked)

    async def _look_here(self, asked: Asked) -> Survey | str:
        try:
            async with asyncio.timeout(self._longest):
                return await asyncio.get_running_loop().run_in_executor(
                    self._threads, self._here, asked
                )
        except TimeoutError:
            return f"looking at {asked.storage_uri} did not end within {self._longest:g} s; check its disk"

    async def _look_elsewhere(self, asked: Asked) -> Survey | NotNow | str:
        try:
            async with asyncio.timeout(self._longest_remote):
                return await self._elsewhere(asked)
        except SourceError as error:
            return NotNow(str(error)) if error.passing else str(error)
        except ArtifactError as error:
            return str(error)
        except TimeoutError:
            return NotNow(
                f"looking at {asked.storage_uri} did not end within {self._longest_remote:g} s; is its source up?"
            )
        except Exception as error:
            # What a source says is somebody else's, and may bring what nobody thought of.
            log.exception("looking at %r raised", asked.storage_uri)
            return NotNow(
                f"{asked.storage_uri} cannot be looked at ({error!r}); the agent's log has more"
            )

    def close(self) -> None:
        """Waits for nobody: a thread may hang for as long as its disk does."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _asked(artifact: pb.Artifact) -> Asked:
    return Asked(artifact.storage_uri, artifact.artifact_version, artifact.secret)


def survey_message(found: Survey | NotNow | str) -> pb.ArtifactSurvey:
    match found:
        case NotNow(reason):
            return pb.ArtifactSurvey(error=told(reason), passing=True)
        case str():
            return pb.ArtifactSurvey(error=told(found))
        case Survey():
            return pb.ArtifactSurvey(
                bytes=found.bytes,
                fingerprint=found.fingerprint,
                made_for=found.made_for,
                callees=found.callees,
            )
