"""The source for all addresses that rclone reads: what is there, and who brings it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.limits import FetchLimits, Turn
from overbook.artifacts.sources.protocol import Listing, Progress, Received, RemoteFile, Wanted
from overbook.artifacts.sources.rclone import batches, own_configuration, places
from overbook.artifacts.sources.rclone.addresses import bad_address, parsed
from overbook.artifacts.sources.rclone.identity import Machine
from overbook.artifacts.sources.rclone.large import Wish, bring_large
from overbook.artifacts.sources.rclone.looking import Looks
from overbook.artifacts.sources.rclone.mismatch import Mismatch
from overbook.artifacts.sources.rclone.program import Patience, Program, found
from overbook.artifacts.sources.rclone.remotes import TYPES, Remote, remote_of
from overbook.artifacts.sources.rclone.sections import Unwritable
from overbook.artifacts.sources.rclone.small import SmallEntry, SmallFiles, bring_small
from overbook.artifacts.sources.rclone.together import Bounds, Together
from overbook.manifests.problems import shown

# A file of so many bytes or more has a process of its own, and what came of it is kept.
LARGE: Final = 16 << 20
# Of small files, that one artifact puts into a batch at a time.
_HANDFUL: Final = Bounds(items=1000, weight=64 << 20)
_BATCH: Final = Bounds(items=128, weight=256 << 20)


class RcloneSource:
    """See `protocol.Source`. ``machine``: who it is to stores where no secret says so."""

    def __init__(
        self, limits: FetchLimits, machine: Machine, patience: Patience | None = None
    ) -> None:
        self._limits = limits
        self._machine = machine
        self._program = Program(patience or Patience(), found())
        self._looks = Looks(self._program)
        self._threads = ThreadPoolExecutor(2 * limits.concurrent, "rclone")
        self._small: Together[SmallFiles, tuple[Received, ...], Turn] = Together(
            lambda files: limits.slot(files.remote.source), self._bring_batch, _BATCH
        )

    async def look(self, wanted: Wanted, secret: RemoteSecret | None) -> Listing:
        remote = await self._remote(wanted, secret)
        return await self._looks.look(remote, wanted.version)

    async def bring(
        self,
        wanted: Wanted,
        secret: RemoteSecret | None,
        listing: Listing,
        into: Path,
        progress: Progress,
    ) -> tuple[Received, ...]:
        remote = await self._remote(wanted, secret)
        await asyncio.to_thread(batches.take_left_behind, into, listing.files)
        begun = places.begun(into)
        whole = await asyncio.to_thread(places.whole, into, listing.files) if begun else []
        progress(sum(each.size or 0 for each in whole))
        here = set(whole)
        missing = [each for each in listing.files if each not in here]
        try:
            came = await self._bring_all(remote, missing, into, progress)
        except Mismatch as mismatch:
            raise await self._what_happened(remote, wanted, listing, mismatch) from None
        except SourceError as error:
            if error.trouble is not Trouble.NOT_FOUND:
                raise
            gone = Mismatch(remote.path, "it is not there any more")
            raise await self._what_happened(remote, wanted, listing, gone) from error
        large = [each for each in missing if _is_large(each)]
        if large:
            # Not all have a hash that was compared: nothing else tells whether all of it was of one version.
            again = await self._looks.look_alone(remote, wanted.version)
            if again.fingerprint != listing.fingerprint:
                raise _changed(remote, "it has other files now")
        if begun or large:
            await asyncio.to_thread(places.remove_empty, places.partial_folder(into))
        return (*(Received(each.name, each.size or 0) for each in whole), *came)

    async def _remote(self, wanted: Wanted, secret: RemoteSecret | None) -> Remote:
        address = parsed(wanted.storage_uri)
        configuration: own_configuration.Configuration = {}
        if secret is None:
            path = own_configuration.where(self._machine)
            try:
                configuration = await asyncio.to_thread(own_configuration.read, path)
            except Unwritable as error:
                if address.scheme not in TYPES:
                    raise bad_address(address.uri, str(error)) from None
        return remote_of(address, secret, self._machine, configuration)

    async def _bring_all(
        self, remote: Remote, files: list[RemoteFile], into: Path, progress: Progress
    ) -> list[Received]:
        """Raises SourceError, Mismatch, OSError; what came stays."""
        calls: list[Coroutine[Any, Any, tuple[Received, ...]]] = []
        place = (remote.same_way, remote.path.rpartition("/")[0], into.parent)
        for handful in _handfuls(each for each in files if not _is_large(each)):
            item = SmallFiles(remote, handful, into, progress)
            calls.append(self._small.ask(place, item, item.bytes))
        for each in files:
            if _is_large(each):
                wish = Wish(remote, each, each.size or 0, into, progress, self._limits.rate_of_one)
                calls.append(self._bring_large(wish))
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(call) for call in calls]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [received for task in tasks for received in task.result()]

    async def _bring_large(self, wish: Wish) -> tuple[Received, ...]:
        async with self._limits.slot(wish.remote.source) as turn:
            counted = replace(wish, progress=turn.counting(wish.progress))
            return (await bring_large(self._program, counted),)

    async def _bring_batch(self, entries: list[SmallEntry], turn: Turn) -> None:
        for each in entries:
            each.item = replace(each.item, progress=turn.counting(each.item.progress))
        await bring_small(self._program, self._threads, entries, self._limits.rate_of_one)

    async def _what_happened(
        self, remote: Remote, wanted: Wanted, listing: Listing, mismatch: Mismatch
    ) -> SourceError:
        """Raises what another look raises."""
        again = await self._looks.look_alone(remote, wanted.version)
        if again.fingerprint != listing.fingerprint:
            return _changed(remote, str(mismatch))
        return SourceError(
            Trouble.DAMAGED, f"{shown(remote.uri)}: what came is not what the store has: {mismatch}"
        )


def _changed(remote: Remote, why: str) -> SourceError:
    return SourceError(
        Trouble.CHANGED,
        f"{shown(remote.uri)}: it changed while it was copied ({why}); expected files that stay as they are",
    )


def _is_large(file: RemoteFile) -> bool:
    return (file.size or 0) >= LARGE


def _handfuls(files: Iterable[RemoteFile]) -> Iterator[tuple[RemoteFile, ...]]:
    handful: list[RemoteFile] = []
    weight = 0
    for each in files:
        size = each.size or 0
        if handful and (len(handful) == _HANDFUL.items or weight + size > _HANDFUL.weight):
            yield tuple(handful)
            handful, weight = [], 0
        handful.append(each)
        weight += size
    if handful:
        yield tuple(handful)
