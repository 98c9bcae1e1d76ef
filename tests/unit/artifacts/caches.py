"""Caches over real folders, and a source elsewhere whose files are told by the test."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from overbook.artifacts.address import Asked
from overbook.artifacts.cache import Artifact, ArtifactCache
from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.fetching import Fetcher
from overbook.artifacts.relief import RoomWanted
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.protocol import (
    Listing,
    Progress,
    Received,
    RemoteFile,
    Source,
    Wanted,
)

PLENTY = 1 << 44


@dataclass(slots=True)
class FakeSource:
    """``files``: by address, names and bytes. ``looks``, ``brings``: how often each address was asked.

    ``seconds``: that bringing takes, half of the files before and half of them after. ``troubles``: what is raised at
    that moment; ``at_look``: what a look raises. ``unsized``: addresses whose source does not say how large files are.
    ``whole``: addresses of one archive. ``pinned``: addresses that never change.
    """

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    looks: Counter[str] = field(default_factory=Counter)
    brings: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    troubles: dict[str, Exception] = field(default_factory=dict)
    at_look: dict[str, SourceError] = field(default_factory=dict)
    unsized: set[str] = field(default_factory=set)
    whole: set[str] = field(default_factory=set)
    pinned: set[str] = field(default_factory=set)
    running: Counter[str] = field(default_factory=Counter)
    secrets: list[str] = field(default_factory=list)

    async def look(self, wanted: Wanted, secret: RemoteSecret | None) -> Listing:
        uri = wanted.storage_uri
        self.looks[uri] += 1
        self.secrets.append("" if secret is None else secret.secret)
        await asyncio.sleep(self.seconds / 10)
        if uri in self.at_look:
            raise self.at_look[uri]
        if uri not in self.files:
            raise SourceError(Trouble.NOT_FOUND, f"{uri}: nothing is there")
        return self.listing(uri)

    def listing(self, uri: str) -> Listing:
        files = tuple(
            RemoteFile(name, None if uri in self.unsized else len(data), mark=data[:64].hex())
            for name, data in sorted(self.files[uri].items())
        )
        return Listing(files, "it" if uri in self.pinned else "", whole=uri in self.whole)

    async def bring(
        self,
        wanted: Wanted,
        secret: RemoteSecret | None,
        listing: Listing,
        into: Path,
        progress: Progress,
    ) -> tuple[Received, ...]:
        uri = wanted.storage_uri
        files = dict(self.files[uri])
        self.brings[uri] += 1
        if self.listing(uri).fingerprint != listing.fingerprint:
            raise SourceError(Trouble.CHANGED, f"{uri} changed since it was looked at")
        self.running[str(into)] += 1
        assert self.running[str(into)] == 1, f"two write into {into}"
        try:
            return await self._write(uri, listing, files, into, progress)
        finally:
            self.running[str(into)] -= 1

    async def _write(
        self,
        uri: str,
        listing: Listing,
        files: Mapping[str, bytes],
        into: Path,
        progress: Progress,
    ) -> tuple[Received, ...]:
        received = []
        for number, each in enumerate(listing.files):
            if number == (len(listing.files) + 1) // 2:
                await asyncio.sleep(self.seconds / 2)
                if uri in self.troubles:
                    raise self.troubles[uri]
            data = files[each.name]
            path = into / each.name
            path.parent.mkdir(parents=True, exist_ok=True)
            # As sources do, none of which brings anew what is here.
            if not path.is_file() or path.read_bytes() != data:
                path.write_bytes(data)
            progress(len(data))
            received.append(Received(each.name, len(data)))
        await asyncio.sleep(self.seconds / 2)
        if uri in self.troubles:
            raise self.troubles[uri]
        return tuple(received)


class NoSecrets:
    """Each has its name and nothing else, but for ``bad``."""

    def find(self, name: str) -> RemoteSecret:
        if name == "bad":
            raise SourceError(Trouble.BAD_SECRET, "secret 'bad' is no secret")
        return RemoteSecret(name, name, "s3", {})


def opened(root: Path, source: Source | None = None, budget: int = PLENTY) -> ArtifactCache:
    """A cache in this folder, as a process opens it."""
    made = source or FakeSource()
    ticks = itertools.count()
    fetcher = Fetcher(lambda uri: made, NoSecrets(), lambda: float(next(ticks)))
    return ArtifactCache(root, fetcher, budget=budget)


def stays(wanted: RoomWanted) -> frozenset[str]:
    """An agent of which no model leaves memory."""
    return frozenset()


async def fetch(
    cache: ArtifactCache, uri: str, fingerprint: str, view: str = "a", *, secret: str = ""
) -> Artifact:
    """What `fetched` gives, which may leave from then on."""
    asked = Asked(uri, secret=secret, fingerprint=fingerprint)
    async with cache.fetched(asked, view) as artifact:
        return artifact
