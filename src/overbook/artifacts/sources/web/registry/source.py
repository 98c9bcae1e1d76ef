"""The source of `oci://HOST[:PORT]/REPOSITORY[:TAG|@sha256:…]`: a model as an artifact or an image in a registry.

Layers that are files are brought as they are. Those that are tars are brought beside the folder, and unpacked into it
when all are there: until then nothing can be said of what is in them, so the listing names the tars.
"""

from __future__ import annotations

import asyncio
import platform
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from overbook.artifacts.archives import Bounds
from overbook.artifacts.errors import ArtifactError, SourceError, Trouble
from overbook.artifacts.keeping import FOLDER_MODE
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.protocol import Listing, Progress, Received, Wanted
from overbook.artifacts.sources.web.archive_names import is_archive
from overbook.artifacts.sources.web.download import Downloader, parts_of
from overbook.artifacts.sources.web.files import WebFile
from overbook.artifacts.sources.web.from_thread import FromThread
from overbook.artifacts.sources.web.in_thread import in_thread
from overbook.artifacts.sources.web.one_version import of_version
from overbook.artifacts.sources.web.registry.access import Access, access_by
from overbook.artifacts.sources.web.registry.address import RegistryAddress, parse
from overbook.artifacts.sources.web.registry.layers import Workplace, lay
from overbook.artifacts.sources.web.registry.manifest import Layers, choose, is_index, layers_of

if TYPE_CHECKING:
    from overbook.artifacts.sources.web.registry.client import RegistryClient

T = TypeVar("T")

# Addresses that are asked about at the same time.
_CONCURRENT: Final = 4
_THREAD: Final = "overbook-registry"
# Seconds that making a client may take, which may ask one of Docker's helpers for a password; and seconds for what is
# asked with it, which the downloader bounds itself.
_MAKING: Final = 60.0
_ASKING: Final = 600.0
# Seconds for which a registry surely takes the token that it gave.
_FRESH: Final = 30.0
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


class RegistrySource:
    """Implements `protocol.Source`. ``bounds``: of what is unpacked. It needs the package oras, and says so where that
    is missing.
    """

    def __init__(self, downloader: Downloader, bounds: Bounds) -> None:
        self._downloader = downloader
        self._bounds = bounds
        self._turns = asyncio.Semaphore(_CONCURRENT)

    async def look(self, wanted: Wanted, secret: RemoteSecret | None) -> Listing:
        """See `protocol.Source`. The listing is pinned where the address has a digest.

        Of layers that are tars it has the tars, each named by its digest, and not what is in them.
        """
        address = parse(wanted.storage_uri)
        access = access_by(address, secret)
        layers = await self._asked(address, access, partial(_look, address))
        if layers.tars:
            return Listing(layers.files, pinned=address.digest, packed=True)
        if len(layers.files) == 1 and is_archive(layers.files[0].name):
            return Listing(layers.files, pinned=address.digest, whole=True)
        files = of_version(str(address), layers.files, wanted.version)
        return Listing(files, pinned=address.digest)

    async def bring(
        self,
        wanted: Wanted,
        secret: RemoteSecret | None,
        listing: Listing,
        into: Path,
        progress: Progress,
    ) -> tuple[Received, ...]:
        """See `protocol.Source`. It fetches by the manifest that was looked at, wherever the tag leads by now.

        Tars lie in `parts_of` until they are unpacked. Received are the files that were in them.
        """
        address = parse(wanted.storage_uri)
        access = access_by(address, secret)
        told = ToldOnce(progress)
        while True:
            before, asked = told.bytes, time.monotonic()
            layers, files = await self._asked(address, access, partial(_again, address, listing))
            place = Workplace(parts_of(into), into)
            if layers.tars:
                place.parts.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            told.begin()
            try:
                received = await self._downloader.bring(
                    files, place.blobs if layers.tars else into, told
                )
            except SourceError as error:
                # A token is good for some minutes only, and may have been too old for the first file already, where
                # others were before this one in the downloader's line.
                fresh = told.bytes == before and time.monotonic() - asked < _FRESH
                if error.trouble is not Trouble.NOT_ALLOWED or fresh:
                    raise
                continue
            if layers.tars:
                received = await self._lay(str(address), layers, wanted.version, place)
            return received

    async def _asked(
        self, address: RegistryAddress, access: Access, call: Callable[[RegistryClient], T]
    ) -> T:
        way = FromThread(self._downloader, asyncio.get_running_loop())
        try:
            async with self._turns:
                client = await in_thread(lambda: _client(address, access, way), _MAKING, _THREAD)
                return await in_thread(lambda: call(client), _ASKING, _THREAD)
        except TimeoutError:
            raise SourceError(
                Trouble.UNREACHABLE, f"{address}: {address.host} has not answered in time"
            ) from None
        finally:
            # So that the thread ends as well.
            way.close()

    async def _lay(
        self, address: str, layers: Layers, version: str, place: Workplace
    ) -> tuple[Received, ...]:
        """Unpacks in a thread, and leaves only when that has ended: else it would write where somebody clears up."""
        stop = threading.Event()

        def check_stopped() -> None:
            if stop.is_set():
                raise ArtifactError(f"{address}: stopped while its layers were unpacked")

        laying = asyncio.ensure_future(
            asyncio.to_thread(lay, address, layers, version, place, self._bounds, check_stopped)
        )
        try:
            return await asyncio.shield(laying)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.gather(laying, return_exceptions=True)
            raise


class ToldOnce:
    """Passes progress on, and leaves out what was told in an earlier try. ``bytes``: told so far."""

    def __init__(self, progress: Progress) -> None:
        self.bytes = 0
        self._progress = progress
        self._seen = 0

    def begin(self) -> None:
        """Another try, which tells from the start."""
        self._seen = 0

    def __call__(self, count: int) -> None:
        self._seen += count
        if (new := self._seen - self.bytes) > 0:
            self.bytes = self._seen
            self._progress(new)


def _client(address: RegistryAddress, access: Access, way: FromThread) -> RegistryClient:
    """Imports oras, and reads Docker's configuration of this user: only to be called in a thread."""
    try:
        from overbook.artifacts.sources.web.registry.client import RegistryClient
        from overbook.artifacts.sources.web.registry.transport import Transport
    except ImportError:
        raise SourceError(
            Trouble.NOT_INSTALLED,
            f"{address}: oci:// needs the package oras: pip install 'overbook[oci]'",
        ) from None
    return RegistryClient(address, access, Transport(str(address), access.secret, way))


def _look(address: RegistryAddress, client: RegistryClient) -> Layers:
    """Raises SourceError."""
    manifest = client.manifest(address.reference)
    if is_index(manifest.content, manifest.media_type):
        machine = platform.machine()
        chosen = choose(str(address), manifest.content, _ARCHITECTURES.get(machine, machine))
        manifest = client.manifest(chosen)
    return layers_of(str(address), manifest.content, manifest.digest)


def _again(
    address: RegistryAddress, listing: Listing, client: RegistryClient
) -> tuple[Layers, list[WebFile]]:
    """What `_look` found, by the digest of the manifest, and where it is. Raises SourceError."""
    (origin,) = {each.origin for each in listing.files}
    layers = layers_of(str(address), client.manifest(origin).content, origin)
    return layers, client.web_files(listing.files)
