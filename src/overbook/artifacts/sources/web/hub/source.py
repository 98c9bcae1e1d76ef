"""The source of `hf://OWNER/NAME[@REVISION][/PATH]`: a model's files as the Hugging Face Hub keeps them.

All that is there is taken, but for git's own: the README, and the same weights in several formats, since which of them
a server reads is not known here. Who wants less names a folder or a file by PATH. A branch or a tag is resolved to a
commit once, and the files are fetched by that, so that none is of another time than the others. The hub's own cache on
this machine is not used.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.protocol import Listing, Progress, Received, RemoteFile, Wanted
from overbook.artifacts.sources.web.archive_names import is_archive
from overbook.artifacts.sources.web.download import Downloader
from overbook.artifacts.sources.web.from_thread import FromThread
from overbook.artifacts.sources.web.hub.access import Access, access_by
from overbook.artifacts.sources.web.hub.address import HubAddress, parse
from overbook.artifacts.sources.web.in_thread import in_thread
from overbook.artifacts.sources.web.one_version import of_version

if TYPE_CHECKING:
    from overbook.artifacts.sources.web.hub.client import HubClient

T = TypeVar("T")

# Addresses that are asked about at the same time: a hub counts what one company asks.
_CONCURRENT: Final = 4
# Hex digits of git's name for the bytes of a file.
_GIT_NAME: Final = 40
_CHUNK: Final = 1024 * 1024


class HubSource:
    """Implements `protocol.Source`. It needs the package huggingface-hub, and says so where that is missing.

    ``longest``: seconds in which the hub has to have said everything about one address.
    """

    def __init__(self, downloader: Downloader, longest: float = 60.0) -> None:
        self._downloader = downloader
        self._longest = longest
        self._turns = asyncio.Semaphore(_CONCURRENT)

    async def look(self, wanted: Wanted, secret: RemoteSecret | None) -> Listing:
        """See `protocol.Source`. The listing is pinned where the revision is a commit."""
        address = parse(wanted.storage_uri)
        access = access_by(address, secret)
        snapshot = await self._asked(address, access, lambda client: client.snapshot())
        files, single = below(address, snapshot.files)
        whole = single and is_archive(files[0].name)
        return Listing(
            files=files if whole else of_version(str(address), files, wanted.version),
            pinned=snapshot.commit if snapshot.commit == address.commit else "",
            whole=whole,
        )

    async def bring(
        self,
        wanted: Wanted,
        secret: RemoteSecret | None,
        listing: Listing,
        into: Path,
        progress: Progress,
    ) -> tuple[Received, ...]:
        """See `protocol.Source`. Files are fetched by the commit that was looked at, wherever the branch is by now."""
        address = parse(wanted.storage_uri)
        access = access_by(address, secret)
        files = await self._asked(address, access, lambda client: client.web_files(listing.files))
        received = await self._downloader.bring(files, into, progress)
        await asyncio.to_thread(_check, address, listing, into)
        return received

    async def _asked(
        self, address: HubAddress, access: Access, call: Callable[[HubClient], T]
    ) -> T:
        way = FromThread(self._downloader, asyncio.get_running_loop())
        try:
            async with self._turns:
                return await in_thread(
                    lambda: call(_client(address, access, way)), self._longest, "overbook-hub"
                )
        except TimeoutError:
            raise SourceError(
                Trouble.UNREACHABLE,
                f"{address}: the hub has not answered within {self._longest:g} s",
            ) from None
        finally:
            # So that the thread ends as well.
            way.close()


def below(
    address: HubAddress, files: tuple[RemoteFile, ...]
) -> tuple[tuple[RemoteFile, ...], bool]:
    """What lies at the address's path, named from there, and whether it is a single file that the path names.

    Raises SourceError, NOT_FOUND.
    """
    folder = f"{address.path}/" if address.path else ""
    for each in files:
        if each.name == address.path:
            return (replace(each, name=each.name.rpartition("/")[2]),), True
    found = tuple(
        replace(each, name=each.name.removeprefix(folder))
        for each in files
        if each.name.startswith(folder)
    )
    if not found:
        what = f"neither a folder nor a file {address.path}" if folder else "no file"
        raise SourceError(
            Trouble.NOT_FOUND,
            f"{address}: there is {what} at revision {address.revision}; expected a model's files",
        )
    return found, False


def _client(address: HubAddress, access: Access, way: FromThread) -> HubClient:
    """Imports the hub's client, which takes a while the first time: only to be called in a thread."""
    try:
        from overbook.artifacts.sources.web.hub.client import HubClient
    except ImportError:
        raise SourceError(
            Trouble.NOT_INSTALLED,
            f"{address}: hf:// needs the package huggingface-hub: pip install 'overbook[hub]'",
        ) from None
    return HubClient(address, access, way)


def _check(address: HubAddress, listing: Listing, into: Path) -> None:
    """Raises SourceError where a file of git's own store is not what its name says; large files were checked on the
    way. Such a file is taken away, so that another try fetches it again.
    """
    for each in listing.files:
        path = into / each.name
        if not each.sha256 and len(each.mark) == _GIT_NAME and _git_name(path) != each.mark:
            path.unlink()
            raise SourceError(
                Trouble.DAMAGED, f"{address}: {each.name} came with other bytes than the hub lists"
            )


def _git_name(path: Path) -> str:
    """What git calls these bytes."""
    hasher = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()
