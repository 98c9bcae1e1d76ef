"""What tests of the rclone source share: secrets that lead to stores, and what is seen of processes from outside."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import Listing, Received, Wanted
from overbook.artifacts.sources.rclone.identity import Machine
from overbook.artifacts.sources.rclone.program import Patience
from overbook.artifacts.sources.rclone.source import RcloneSource
from tests.stores.processes import environment
from tests.stores.s3 import S3Store

# So that what hangs is found out soon.
IMPATIENT = Patience(connect_s=2.0, idle_s=2.0, stall_s=4.0)
MIB = 2**20


def machine(home: Path = Path("/nonexistent"), **more: str) -> Machine:
    """Nobody to any cloud, but for what ``more`` says."""
    return Machine(environment(**more), home)


def source(
    limits: FetchLimits | None = None,
    patience: Patience | None = None,
    on: Machine | None = None,
) -> RcloneSource:
    return RcloneSource(limits or FetchLimits(), on or machine(), patience)


def s3_secret(store: S3Store, **changed: str) -> RemoteSecret:
    return RemoteSecret("minio", "s3", "s3", store.remote(**changed))


def secret(kind: str, parameters: Mapping[str, str]) -> RemoteSecret:
    return RemoteSecret("shelf-key", "shelf", kind, parameters)


class Fetch:
    """Looks at one address and brings it, and knows what progress was told."""

    def __init__(
        self, rclone: RcloneSource, uri: str, given: RemoteSecret | None, version: str = ""
    ) -> None:
        self.wanted = Wanted(uri, version)
        self.progress: list[int] = []
        self._rclone = rclone
        self._secret = given

    async def look(self) -> Listing:
        return await self._rclone.look(self.wanted, self._secret)

    async def bring(self, listing: Listing, into: Path) -> tuple[Received, ...]:
        return await self._rclone.bring(
            self.wanted, self._secret, listing, into, self.progress.append
        )

    async def all(self, into: Path) -> tuple[Received, ...]:
        return await self.bring(await self.look(), into)

    @property
    def told(self) -> int:
        return sum(self.progress)


def files_of(folder: Path) -> dict[str, bytes]:
    """All that are below it, by their names there."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Waits for it. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            if true():
                return
            await asyncio.sleep(0.01)


def rclones() -> list[psutil.Process]:
    """Processes of rclone that this one has started, servers of tests aside."""
    children = psutil.Process(os.getpid()).children(recursive=True)
    return [each for each in children if "--config" in _command(each) and not _serves(each)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _serves(process: psutil.Process) -> bool:
    return "serve" in _command(process)
