"""Brings one file: asks for what is missing of it, again where that may help, and checks what it has in the end."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from dataclasses import dataclass
from typing import Final

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.limits import Turn
from overbook.artifacts.sources.protocol import Progress, Received
from overbook.artifacts.sources.web import versions
from overbook.artifacts.sources.web.connect.addresses import checked, shown
from overbook.artifacts.sources.web.connect.client import Client, Reply, Request
from overbook.artifacts.sources.web.connect.troubles import of_status
from overbook.artifacts.sources.web.connect.zones import Zone
from overbook.artifacts.sources.web.files import WebFile
from overbook.artifacts.sources.web.pace import Pace
from overbook.artifacts.sources.web.part_writer import PartWriter, digest
from overbook.artifacts.sources.web.parts import Parts
from overbook.artifacts.sources.web.retries import Manners, retry_after

# Servers say of these, too, that they are encoded, though their bytes are what is in the file.
_COMPRESSED: Final = (".gz", ".tgz")


@dataclass(frozen=True, slots=True)
class Tools:
    """What all files of an artifact are brought with. ``least``: how near their addresses may be."""

    client: Client
    parts: Parts
    manners: Manners
    pace: Pace
    progress: Progress
    least: Zone
    turn: Turn


class OneFile:
    """One file on its way. `bring` is called once."""

    def __init__(self, web: WebFile, tools: Tools) -> None:
        self._web = web
        self._file = web.file
        self._url = checked(web.url)
        self._tools = tools
        # Of the part that is here.
        self._hasher = hashlib.sha256()
        self._size = 0
        self._validator = ""
        # The longest that it ever was: only what is beyond is progress.
        self._furthest = 0

    async def bring(self) -> Received:
        """Raises SourceError, OSError."""
        if (received := await self._from_before()) is not None:
            return received
        tries = 0
        while not self._is_whole():
            furthest = self._furthest
            try:
                await self._ask()
                break
            except SourceError as error:
                tries = 1 if self._furthest > furthest else tries + 1
                wait = self._tools.manners.wait_after(error, tries, random.random())
                if wait is None:
                    raise
            await self._tools.turn.rest(wait)
        return await self._finish()

    async def _from_before(self) -> Received | None:
        """Take in what an earlier try left: the whole file, or a part of it."""
        parts = self._tools.parts
        if expected := await asyncio.to_thread(parts.whole, self._file):
            hasher = hashlib.sha256()
            try:
                size = await digest(parts.target_of(self._file), hasher)
            except FileNotFoundError:
                size = 0
            if hasher.hexdigest() == expected:
                self._tools.progress(size)
                return Received(self._file.name, size, expected)
        begun = await asyncio.to_thread(parts.begun, self._file)
        if begun is not None and begun.validator:
            self._validator = begun.validator
            self._grown(await digest(parts.path_of(self._file), self._hasher))
        return None

    def _is_whole(self) -> bool:
        """Whether nothing has to be asked for: an empty file is, to learn that it is there."""
        return self._size > 0 and self._size == self._file.size

    async def _ask(self) -> None:
        """One request for what is missing. Returns when the part is as long as it is to be."""
        headers = {}
        if self._size and self._validator:
            headers = {"Range": f"bytes={self._size}-", "If-Range": self._validator}
        request = Request(
            self._url, private=self._web.headers, headers=headers, least=self._tools.least
        )
        async with self._tools.client.send(request) as reply:
            status, told = reply.response.status, reply.headers
            if status == 416 and headers:
                await self._nothing_more(reply)
                return
            if status != 200 and not (status == 206 and headers):
                raise of_status(
                    reply.url,
                    status,
                    self._web.secret,
                    left=reply.left,
                    retry_after=retry_after(told, time.time()),
                )
            if versions.contradicts(told, self._web.validator):
                raise await self._no_good(
                    Trouble.CHANGED, reply, "it is another version than was listed; look again"
                )
            if (encoding := versions.encoding(told)) and not self._file.name.endswith(_COMPRESSED):
                raise await self._no_good(
                    Trouble.DAMAGED, reply, f"it is sent in {encoding}, which was not asked for"
                )
            await self._take(reply, await self._total(reply))

    async def _total(self, reply: Reply) -> int | None:
        """Bytes of the whole file, None where that is told by its end alone. What is here already is where the answer
        begins.
        """
        told = reply.headers
        total, listed = versions.length(told), self._file.size
        if reply.response.status == 206:
            stretch = versions.stretch(told)
            if (
                stretch is None
                or stretch.start != self._size
                or versions.contradicts(told, self._validator)
            ):
                raise await self._no_good(
                    Trouble.DAMAGED,
                    reply,
                    f"bytes from {self._size} on were asked for, others came",
                )
            total = stretch.total
        elif self._size:
            self._forget()
        if total is not None and listed is not None and total != listed:
            raise await self._no_good(
                Trouble.DAMAGED, reply, f"{listed} bytes were listed, {total} are sent"
            )
        if total is None and listed is None and not versions.is_delimited(told):
            raise await self._no_good(
                Trouble.DAMAGED,
                reply,
                "the server does not say how long it is, so a part could not be told from all of it",
            )
        return listed if total is None else total

    async def _take(self, reply: Reply, total: int | None) -> None:
        parts, pace = self._tools.parts, self._tools.pace
        if self._size:
            descriptor = await asyncio.to_thread(parts.go_on, self._file)
        else:
            self._validator = versions.resumable(reply.headers)
            descriptor = await asyncio.to_thread(parts.begin, self._file, self._validator)
        came = self._size
        async with PartWriter(descriptor, self._hasher, self._grown) as writer:
            while chunk := await reply.read():
                came += len(chunk)
                if total is not None and came > total:
                    break
                await writer.add(chunk)
                if wait := pace.wait_after(len(chunk), time.monotonic()):
                    await asyncio.sleep(wait)
        if total is None or came == total:
            return
        if came > total:
            raise await self._no_good(
                Trouble.DAMAGED, reply, f"more than the {total} bytes came that were listed"
            )
        if not versions.is_delimited(reply.headers):
            raise SourceError(
                Trouble.UNREACHABLE,
                f"{shown(reply.url)}: the connection broke before all bytes were here",
            )
        raise await self._no_good(Trouble.DAMAGED, reply, f"{total} bytes were listed, {came} came")

    async def _nothing_more(self, reply: Reply) -> None:
        """The server says that there is nothing behind what is here."""
        stretch = versions.stretch(reply.headers)
        if self._file.size is None and stretch is not None and stretch.total == self._size:
            return
        raise await self._no_good(
            Trouble.CHANGED,
            reply,
            f"it has become shorter than the {self._size} bytes that are here",
        )

    async def _finish(self) -> Received:
        found = self._hasher.hexdigest()
        if self._file.sha256 and found != self._file.sha256.lower():
            await asyncio.to_thread(self._tools.parts.drop, self._file)
            raise SourceError(
                Trouble.DAMAGED,
                f"{shown(self._url)}: other bytes came than were listed: SHA-256 {found}, expected {self._file.sha256}",
            )
        await asyncio.to_thread(self._tools.parts.finish, self._file, found)
        return Received(self._file.name, self._size, found)

    async def _no_good(self, trouble: Trouble, reply: Reply, why: str) -> SourceError:
        """The error that says so; what is here is no good either."""
        self._forget()
        await asyncio.to_thread(self._tools.parts.drop, self._file)
        return SourceError(trouble, f"{shown(reply.url)}: {why}")

    def _forget(self) -> None:
        self._hasher = hashlib.sha256()
        self._size, self._validator = 0, ""

    def _grown(self, count: int) -> None:
        """In whatever thread, one at a time."""
        self._size += count
        if self._size > self._furthest:
            more, self._furthest = self._size - self._furthest, self._size
            self._tools.progress(more)
