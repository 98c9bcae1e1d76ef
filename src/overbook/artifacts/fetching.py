"""Asks sources what they have, and has them bring it: one look and one fetch at a time for whatever is the same.

Knows sources, their secrets, and what was listed a moment ago. Where files go, what is checked of them and what has to
leave for them is `cache`'s; when to try again is decided by who asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from overbook.artifacts.address import Asked
from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.made_for import made_for
from overbook.artifacts.names import refuse_names
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.shared import SharedWork
from overbook.artifacts.sources.protocol import Listing, Progress, Received, Source, Wanted
from overbook.artifacts.survey import Survey
from overbook.manifests.problems import shown

# Seconds for which a listing stands: whoever applies a model has it fetched at once, and need not have it listed twice.
_FRESH: Final = 60.0
_KEPT_LISTINGS: Final = 5000
# Of one artifact.
_MOST_BYTES: Final = 1 << 50
# Names that are looked at in a thread, as they take some milliseconds.
_MANY: Final = 500


class Secrets(Protocol):
    """`overbook.artifacts.secrets.known.Secrets`."""

    def find(self, name: str) -> RemoteSecret:
        """Raises SourceError."""
        ...


@dataclass(frozen=True, slots=True)
class _Listed:
    listing: Listing
    at: float


class Fetcher:
    """``source_of``: who serves an address; raises SourceError. ``now``: seconds of a clock that never goes back."""

    def __init__(
        self, source_of: Callable[[str], Source], secrets: Secrets, now: Callable[[], float]
    ) -> None:
        self._source_of = source_of
        self._secrets = secrets
        self._now = now
        self._looks: SharedWork[tuple[str, str], Listing] = SharedWork("look at")
        self._listed: dict[tuple[str, str], _Listed] = {}

    async def look(self, asked: Asked) -> Listing:
        """What is there now; the source is asked. Raises SourceError."""
        key = (asked.place, asked.secret)
        listing = await self._looks.join(key, lambda: self._look(asked))
        while len(self._listed) >= _KEPT_LISTINGS:
            del self._listed[next(iter(self._listed))]
        self._listed[key] = _Listed(listing, self._now())
        return listing

    async def listing(self, asked: Asked) -> Listing:
        """What was there a moment ago, when that is what is asked for; else the source is asked. Raises SourceError."""
        known = self._listed.pop((asked.place, asked.secret), None)
        if (
            known is not None
            and self._now() - known.at < _FRESH
            and asked.fingerprint in ("", known.listing.fingerprint)
        ):
            return known.listing
        return await self.look(asked)

    async def bring(
        self, asked: Asked, listing: Listing, into: Path, progress: Progress
    ) -> tuple[Received, ...]:
        """All files of the listing; see `Source.bring`. Raises SourceError, OSError."""
        source = self._source_of(asked.storage_uri)
        # Should it fail, the next try is to see what is there by then.
        self._listed.pop((asked.place, asked.secret), None)
        return await source.bring(_wanted(asked), self._secret(asked), listing, into, progress)

    async def _look(self, asked: Asked) -> Listing:
        listing = await self._source_of(asked.storage_uri).look(_wanted(asked), self._secret(asked))
        refuse_sizes(listing, asked.storage_uri)
        names = [each.name for each in listing.files]
        if len(names) > _MANY:
            await asyncio.to_thread(refuse_names, names, asked.storage_uri)
        else:
            refuse_names(names, asked.storage_uri)
        return listing

    def _secret(self, asked: Asked) -> RemoteSecret | None:
        return self._secrets.find(asked.secret) if asked.secret else None


def refuse_sizes(listing: Listing, source: str) -> None:
    """Looks at what a source says of sizes: no disk has more, and no message. Raises SourceError (REFUSED)."""
    for each in listing.files:
        if each.size is not None and not 0 <= each.size <= _MOST_BYTES:
            raise SourceError(
                Trouble.REFUSED,
                f"{source}: {shown(each.name)} is said to have {str(each.size)[:40]} bytes",
            )
    if listing.bytes > _MOST_BYTES:
        raise SourceError(
            Trouble.REFUSED, f"{source}: its files are said to have {listing.bytes} bytes"
        )


def survey_of(listing: Listing) -> Survey:
    """What a listing tells of a model; whom it calls shows only when its files are here."""
    return Survey(
        listing.bytes,
        listing.fingerprint,
        "" if listing.whole or listing.packed else made_for(each.name for each in listing.files),
    )


def _wanted(asked: Asked) -> Wanted:
    return Wanted(asked.storage_uri, asked.version)
