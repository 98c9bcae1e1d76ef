"""Brings files over HTTP, and asks small questions by the same rules: redirects, retries, errors."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from overbook.artifacts.address import source_of
from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import Progress, Received
from overbook.artifacts.sources.web.connect.addresses import checked, shown
from overbook.artifacts.sources.web.connect.client import Client, Network, Request
from overbook.artifacts.sources.web.connect.masking import Mask
from overbook.artifacts.sources.web.connect.troubles import of_status
from overbook.artifacts.sources.web.connect.zones import Zone
from overbook.artifacts.sources.web.files import WebFile
from overbook.artifacts.sources.web.json_answers import read_json
from overbook.artifacts.sources.web.one_file import OneFile, Tools
from overbook.artifacts.sources.web.pace import Pace
from overbook.artifacts.sources.web.parts import Parts, parts_of
from overbook.artifacts.sources.web.retries import Manners, retry_after
from overbook.artifacts.sources.web.together import together
from overbook.manifests.problems import Json

__all__ = ["PLAIN", "Answer", "Downloader", "Manners", "Network", "Question", "parts_of"]

_SIDE_BY_SIDE: Final = 4
_ANSWER_BYTES: Final = 8 * 1024 * 1024
_ERROR_BYTES: Final = 64 * 1024
_MANNERS: Final = Manners()
_NETWORK: Final = Network()


@dataclass(frozen=True, slots=True)
class Question:
    """How something small is asked. ``method``: GET or HEAD. ``answers``: the statuses that come back as an `Answer`;
    any other is raised as the SourceError that it means.

    ``follow``: whether redirects are followed; where not, name those that are wanted among ``answers``.
    ``secret``: what people call the secret that the headers were made of, "" for none; errors name it.
    ``public``: more headers, which hold no secret, for whoever answers in the end. ``body``: whether it is wanted.
    ``least``: how near the address may be, where a server named it.
    """

    method: str = "GET"
    answers: frozenset[int] = frozenset({200})
    follow: bool = True
    secret: str = ""
    public: Mapping[str, str] = field(default_factory=dict)
    body: bool = True
    least: Zone = Zone.LOOPBACK


@dataclass(frozen=True, slots=True)
class Answer:
    """``headers``: names in lower case. ``body``: at most 8 MiB, and the first 64 KiB of an error. ``url``: where it
    came from in the end; like headers and body it may hold secrets, and is in no text that is made of it. ``least``:
    how near addresses in it may lead. ``mask``: for what is taken from headers, body and url.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    url: str = field(repr=False)
    least: Zone
    mask: Mask = field(repr=False, compare=False)

    def json(self) -> Json:
        """What the body says, masked. Raises ValueError. Not for the event loop (`read_json`)."""
        return self.mask.json(read_json(self.body))


PLAIN: Final = Question()


class Downloader:
    """One for all web sources of an agent, for one event loop."""

    def __init__(
        self,
        limits: FetchLimits,
        manners: Manners = _MANNERS,
        network: Network = _NETWORK,
    ) -> None:
        self._limits = limits
        self._manners = manners
        self._client = Client(network, manners.silence)
        self._least = Zone.LOOPBACK

    def within(self, least: Zone) -> Downloader:
        """The same, for addresses that a server named: none of them may be nearer than ``least``."""
        made = copy(self)
        made._least = max(least, self._least)
        return made

    async def bring(
        self, files: Sequence[WebFile], into: Path, progress: Progress
    ) -> tuple[Received, ...]:
        """All files below ``into``, in the order given. Holds one slot meanwhile, but for when all of them wait for
        the server. Raises SourceError, OSError, and whatever ``progress`` raises.

        What is not whole yet, and what is known about all of them, lies beside ``into``, in `parts_of`. That stays
        here: whoever takes the files, or gives the fetch up, removes it.
        """
        source = source_of(files[0].url) if files else ""
        async with self._limits.slot(source) as turn:
            parts = await asyncio.to_thread(Parts, into)
            pace = Pace(self._limits.rate_of_one)
            counting = turn.counting(progress)
            tools = Tools(self._client, parts, self._manners, pace, counting, self._least, turn)
            received: dict[int, Received] = {}
            waiting = iter(enumerate(files))

            async def work() -> None:
                try:
                    for index, file in waiting:
                        received[index] = await OneFile(file, tools).bring()
                finally:
                    turn.leave()

            try:
                workers = min(_SIDE_BY_SIDE, len(files))
                turn.share(workers)
                await together(work() for _ in range(workers))
            finally:
                parts.close()
        return tuple(received[index] for index in range(len(files)))

    async def ask(self, url: str, headers: Mapping[str, str], question: Question = PLAIN) -> Answer:
        """Raises SourceError, with NOT_FOUND for 404, NOT_ALLOWED for 401 and 403, BUSY for 429, unless the question
        wants them as answers. Answers of 429 and 5xx that are wanted are not asked for again.
        """
        request = Request(
            checked(url),
            method=question.method,
            private=headers,
            headers=question.public,
            follow=question.follow,
            least=max(question.least, self._least),
        )
        tries = 0
        while True:
            try:
                return await self._ask(request, question)
            except SourceError as error:
                tries += 1
                wait = self._manners.wait_after(error, tries, random.random())
                if wait is None:
                    raise
            await asyncio.sleep(wait)

    async def close(self) -> None:
        """Connections end; what is under way fails."""
        await self._client.close()

    async def _ask(self, request: Request, question: Question) -> Answer:
        try:
            async with (
                asyncio.timeout(self._manners.answer),
                self._client.send(request) as reply,
            ):
                status, told = reply.response.status, reply.headers
                if status not in question.answers:
                    raise of_status(
                        reply.url,
                        status,
                        question.secret,
                        left=reply.left,
                        retry_after=retry_after(told, time.time()),
                    )
                body = bytearray()
                while question.body and (chunk := await reply.read()):
                    body += chunk
                    if status >= 400 and len(body) > _ERROR_BYTES:
                        del body[_ERROR_BYTES:]
                        break
                    if len(body) > _ANSWER_BYTES:
                        raise SourceError(
                            Trouble.REFUSED,
                            f"{shown(reply.url)}: the answer has more than {_ANSWER_BYTES} bytes: refused",
                        )
                return Answer(status, told, bytes(body), str(reply.url), reply.least, reply.mask)
        except TimeoutError:
            raise SourceError(
                Trouble.UNREACHABLE,
                f"{shown(request.url)}: no whole answer within {self._manners.answer:.0f} s",
            ) from None
