"""Brings files over HTTP, and asks small questions by the same rules: redirects, retries, errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import Progress, Received
from overbook.artifacts.sources.web.files import WebFile


@dataclass(frozen=True, slots=True)
class Question:
    """How something small is asked. ``method``: GET or HEAD. ``answers``: the statuses that come back as an `Answer`;
    any other is raised as the SourceError that it means.

    ``follow``: whether redirects are followed; where not, name those that are wanted among ``answers``.
    ``secret``: what people call the secret that the headers were made of, "" for none; errors name it.
    """

    method: str = "GET"
    answers: frozenset[int] = frozenset({200})
    follow: bool = True
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """``headers``: names in lower case. ``body``: at most 8 MiB. ``url``: where it came from in the end; like headers
    and body it may hold secrets, and is in no text that is made of it.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    url: str = field(repr=False)


PLAIN: Final = Question()


class Downloader:
    """One for all web sources of an agent, for one event loop."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits

    async def bring(
        self, files: Sequence[WebFile], into: Path, progress: Progress
    ) -> tuple[Received, ...]:
        """All files below ``into``, in the order given. Holds one slot meanwhile. Raises SourceError, OSError, and
        whatever ``progress`` raises.

        What is not whole yet lies beside ``into``, in `parts_of`, which goes when all is whole.
        """
        raise NotImplementedError

    async def ask(
        self, url: str, headers: Mapping[str, str], question: Question = PLAIN
    ) -> Answer:
        """Raises SourceError, with NOT_FOUND for 404, NOT_ALLOWED for 401 and 403, BUSY for 429, unless the question
        wants them as answers. Answers of 429 and 5xx that are wanted are not asked for again.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Connections end; what is under way fails."""


def parts_of(into: Path) -> Path:
    """Where files that are to be in ``into`` lie until they are whole. Whoever gives the fetch up removes both."""
    return into.with_name(into.name + ".parts")
