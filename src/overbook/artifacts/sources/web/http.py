"""``http(s)://``: a single object, or a folder that its server lists on a page.

An address that ends in a slash is a folder. The secret that fits is of type ``http`` (`http_secret`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from yarl import URL

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.protocol import Listing, Progress, Received, RemoteFile, Wanted
from overbook.artifacts.sources.web import versions
from overbook.artifacts.sources.web.archive_names import is_archive
from overbook.artifacts.sources.web.autoindex import children, quoted
from overbook.artifacts.sources.web.connect.addresses import checked, shown
from overbook.artifacts.sources.web.download import Answer, Downloader, Question
from overbook.artifacts.sources.web.files import WebFile
from overbook.artifacts.sources.web.http_secret import http_headers
from overbook.artifacts.sources.web.together import together
from overbook.artifacts.sources.web.walk import FILES, Entry, all_files

_SIDE_BY_SIDE: Final = 8
# By these a server may say that it does not know HEAD, or that an address is signed for GET alone.
_NO_HEAD: Final = frozenset({400, 403, 404, 405, 501})
_FIRST_BYTE: Final = {"Range": "bytes=0-0"}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where to look, and what to say there."""

    url: URL
    headers: Mapping[str, str]
    secret: str

    def below(self, path: str) -> str:
        """The address of something in this folder; ``path`` as it stands in an address."""
        folder = self.url.raw_path if self.url.raw_path.endswith("/") else f"{self.url.raw_path}/"
        return f"{self.url.scheme}://{self.url.raw_authority}{folder}{path}"


class HttpSource:
    """Artifacts at addresses of HTTP."""

    def __init__(self, downloader: Downloader) -> None:
        self._downloader = downloader

    async def look(self, wanted: Wanted, secret: RemoteSecret | None) -> Listing:
        """What is there now. Raises SourceError."""
        place = _place(wanted, secret)
        if place.url.raw_path.endswith("/"):
            return await self._folder(place, wanted.version)
        answer = await self._head(str(place.url), place)
        if _is_folder(place.url, answer.url):
            return await self._folder(place, wanted.version)
        name = unquote(place.url.raw_path.rpartition("/")[2], errors="surrogateescape")
        archive = is_archive(name)
        if wanted.version and not archive:
            raise SourceError(
                Trouble.NOT_FOUND,
                f"{shown(place.url)} is a single file, which has no folder {wanted.version}",
            )
        return Listing((_file(name, "", answer),), whole=archive)

    async def bring(
        self,
        wanted: Wanted,
        secret: RemoteSecret | None,
        listing: Listing,
        into: Path,
        progress: Progress,
    ) -> tuple[Received, ...]:
        """All files of the listing. Raises SourceError, OSError."""
        place = _place(wanted, secret)
        files = [
            WebFile(
                file,
                place.below(file.origin) if file.origin else str(place.url),
                place.headers,
                secret=place.secret,
                validator=_validator(file.mark),
            )
            for file in listing.files
        ]
        return await self._downloader.bring(files, into, progress)

    async def _folder(self, place: _Place, version: str) -> Listing:
        if place.url.raw_query_string:
            raise SourceError(
                Trouble.BAD_ADDRESS,
                f"{shown(place.url)}: the address of a folder has nothing behind a question mark; give it without, and "
                "what the server wants to know by a secret",
            )
        found = await all_files(
            shown(place.url), lambda folder: self._entries(place, folder), version
        )
        names = [file.name for file in found]
        files: dict[str, RemoteFile] = {}
        waiting = iter(names)

        async def work() -> None:
            for name in waiting:
                origin = quoted(name)
                files[name] = _file(name, origin, await self._head(place.below(origin), place))

        await together(work() for _ in range(min(_SIDE_BY_SIDE, len(names))))
        return Listing(tuple(files[name] for name in names))

    async def _entries(self, place: _Place, folder: str) -> list[Entry]:
        where = place.below(quoted(folder))
        answer = await self._downloader.ask(where, place.headers, Question(secret=place.secret))
        if "html" not in answer.headers.get("content-type", "").lower():
            raise SourceError(
                Trouble.BAD_ADDRESS,
                f"{shown(URL(where))} ends in a slash and is no page that lists files; expected one, or a single "
                "file's address without the slash",
            )
        try:
            found = await asyncio.to_thread(_listed, answer)
        except ValueError as error:
            raise SourceError(
                Trouble.REFUSED, f"{shown(URL(where))} lists {error}: refused"
            ) from None
        return [Entry(name.removesuffix("/"), name.endswith("/")) for name in found]

    async def _head(self, url: str, place: _Place) -> Answer:
        """The headers of a file."""
        answer = await self._downloader.ask(
            url,
            place.headers,
            Question(method="HEAD", answers=frozenset({200}) | _NO_HEAD, secret=place.secret),
        )
        if answer.status == 200:
            return answer
        return await self._downloader.ask(
            url,
            place.headers,
            Question(
                answers=frozenset({200, 206, 416}),
                secret=place.secret,
                public=_FIRST_BYTE,
                body=False,
            ),
        )


def _place(wanted: Wanted, secret: RemoteSecret | None) -> _Place:
    url = checked(wanted.storage_uri).with_fragment(None)
    return _Place(url, http_headers(secret, url), "" if secret is None else secret.secret)


def _listed(answer: Answer) -> tuple[str, ...]:
    """What is on a page. Raises ValueError. Blocking, for as long as it takes to read a large page."""
    try:
        found = children(answer.body.decode(errors="surrogateescape"), answer.url, FILES)
    except ValueError as error:
        raise ValueError(answer.mask.message(str(error))) from None
    return tuple(map(answer.mask.value, found))


def _is_folder(asked: URL, answered: str) -> bool:
    """Whether the server led from a name to the same with a slash, as servers do for a folder."""
    found = URL(answered, encoded=True)
    return not asked.raw_query_string and found.raw_path == f"{asked.raw_path}/"


def _file(name: str, origin: str, answer: Answer) -> RemoteFile:
    headers = answer.headers
    if answer.status == 200:
        size = versions.length(headers)
    else:
        stretch = versions.stretch(headers)
        size = None if stretch is None else stretch.total
    mark = headers.get("etag") or f"{headers.get('last-modified', '')}; {size}"
    return RemoteFile(name, size, mark, origin=origin)


def _validator(mark: str) -> str:
    """What of a file's mark the server can be held to."""
    return mark if mark.startswith(('"', "W/")) else mark.rpartition("; ")[0]
