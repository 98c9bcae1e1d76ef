"""Asks what is at addresses: those in one folder of one store together, where several wait at the same time.

What is not answered well together is asked by itself, as who may read one place need not see what is beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.protocol import Listing, RemoteFile
from overbook.artifacts.sources.rclone import listing as asking
from overbook.artifacts.sources.rclone import troubles
from overbook.artifacts.sources.rclone.program import Job, Outcome, Program
from overbook.artifacts.sources.rclone.remotes import Remote
from overbook.artifacts.sources.rclone.together import Bounds, Entry, Together
from overbook.artifacts.walk import MAX_ENTRIES
from overbook.manifests.problems import shown

_CONCURRENT: Final = 4
_TOGETHER: Final = Bounds(items=1024, weight=1024)
# Files of all that are asked for together.
_MOST_OF_ALL: Final = 5 * MAX_ENTRIES
# Seconds after which a folder surely holds much that nobody asked for.
_SWEEP_S: Final = 10.0
_ONE_OBJECT: Final = "limit to single files when using filters"
_DATE: Final = re.compile(r"\\nDate: ([^\\\r\n]+)|^Date: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Look:
    remote: Remote
    version: str

    @property
    def name(self) -> str:
        return self.remote.path.rpartition("/")[2]

    @property
    def parent(self) -> str:
        return self.remote.path.rpartition("/")[0]


LookEntry = Entry[Look, Listing | None]


class Looks:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._slots = asyncio.Semaphore(_CONCURRENT)
        self._together: Together[Look, Listing | None, None] = Together(
            lambda _: self._slot(), self._look_together, _TOGETHER
        )

    async def look(self, remote: Remote, version: str) -> Listing:
        """Raises SourceError."""
        look = Look(remote, version)
        if look.parent and asking.can_be_named(look.name):
            answer = await self._together.ask((remote.same_way, look.parent), look, 1)
            if answer is not None:
                return answer
        return await self.look_alone(remote, version)

    async def look_alone(self, remote: Remote, version: str) -> Listing:
        """Raises SourceError."""
        async with self._slot():
            files, outcome = await self._ask(remote, asking.question(remote, version))
            if version and any(_ONE_OBJECT in line for line in outcome.said):
                version = ""
                files, outcome = await self._ask(remote, asking.question(remote, version))
            if files.too_many:
                raise troubles.too_many(remote, MAX_ENTRIES)
            if not outcome.well:
                return await self._in_spite(remote, outcome)
            if asking.maybe_single(remote, files.found):
                file = await self._object(remote)
                if file is not None:
                    return asking.of_object(remote, files.found[0])
        below = asking.of_version(shown(remote.uri), files.found, version)
        if below:
            return asking.of_folder(remote, below)
        folders = await self._folders(remote) if version else []
        if files.found or folders:
            raise troubles.no_version(remote, version, folders)
        raise troubles.nothing_there(remote)

    async def _in_spite(self, remote: Remote, outcome: Outcome) -> Listing:
        """Whoever may read an object need not be allowed to list the folder. Raises SourceError."""
        off = await self._clock_off(remote) if troubles.skewed(outcome) else None
        error = troubles.explained(remote, outcome, clock_off_s=off)
        if error.trouble is Trouble.NOT_ALLOWED and off is None:
            file = await self._object(remote)
            if file is not None:
                return asking.of_object(remote, file)
        raise error

    async def _look_together(self, entries: list[LookEntry], _: None) -> None:
        if len(entries) == 1:
            entries[0].give(None)
            return
        files, outcome = await self._ask_jointly([each.item for each in entries])
        below: defaultdict[str, list[RemoteFile]] = defaultdict(list)
        single: dict[str, RemoteFile] = {}
        for file in files.found:
            name, slash, rest = file.name.partition("/")
            if slash:
                below[name].append(asking.renamed(file, rest))
            else:
                single[name] = file
        for entry in entries:
            look = entry.item
            if not outcome.well:
                entry.give(None)
            elif look.name in single:
                entry.give(asking.of_object(look.remote, single[look.name]))
            else:
                try:
                    found = asking.of_version(
                        shown(look.remote.uri), below[look.name], look.version
                    )
                except SourceError as error:
                    entry.fail(error)
                    continue
                if not (found or look.version):
                    # The folder that it would be in was read: asking for it alone would tell no more.
                    entry.fail(troubles.nothing_there(look.remote))
                    continue
                answered = 0 < len(found) <= MAX_ENTRIES
                entry.give(asking.of_folder(look.remote, found) if answered else None)

    async def _ask_jointly(self, looks: list[Look]) -> tuple[asking.Files, Outcome]:
        """By reading the whole folder, which few requests do; folder by folder where that holds too much else, or
        some want only one version.
        """
        first = looks[0]
        named = [asking.Named(each.name, each.version) for each in looks]
        question = partial(asking.joint_question, first.remote, first.parent, named)
        if not any(each.version for each in looks):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SWEEP_S):
                    return await self._ask(first.remote, question(sweep=True), _MOST_OF_ALL)
        return await self._ask(first.remote, question(sweep=False), _MOST_OF_ALL)

    async def _ask(
        self, remote: Remote, question: asking.Question, most: int = MAX_ENTRIES
    ) -> tuple[asking.Files, Outcome]:
        files = asking.Files(most)
        job = Job(question.arguments, listed=question.filters, take=files.take)
        return files, await self._program.run(remote, job)

    async def _object(self, remote: Remote) -> RemoteFile | None:
        """The single object that has this very address."""
        lines: list[bytes] = []

        def take(line: bytes) -> bool:
            lines.append(line)
            return True

        outcome = await self._program.run(remote, Job(asking.stat_arguments(remote), take=take))
        if not outcome.well:
            return None
        told = json.loads(b"".join(lines))
        return None if told.get("IsDir", True) else asking.file_of(told)

    async def _folders(self, remote: Remote) -> list[str]:
        """Names of the first folders there; none where that cannot be told."""
        folders: list[str] = []

        def take(line: bytes) -> bool:
            folders.append(line.decode(errors="replace").rstrip("/\n"))
            return len(folders) < MAX_ENTRIES

        await self._program.run(remote, Job(asking.folders_arguments(remote), take=take))
        return folders

    async def _clock_off(self, remote: Remote) -> float | None:
        """Seconds by which the server's clock is ahead of ours, as its next answer says."""
        # Headers that are secret are not in what it says.
        arguments = (*asking.stat_arguments(remote), "--dump", "headers")
        outcome = await self._program.run(remote, Job(arguments))
        for line in outcome.said:
            if found := _DATE.search(line):
                try:
                    then = parsedate_to_datetime((found[1] or found[2]).strip())
                except ValueError:
                    continue
                return (then - datetime.now(UTC)).total_seconds()
        return None

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        async with self._slots:
            yield
