"""An inference server whose process can be replaced by a fresh one that is started beside it.

To everybody it is one `InferenceServer`: calls go to the current one. `prepare` starts a spare, `swap` makes it the
current one and stops the old. When to do so is the supervisor's to decide, and nothing of models is known here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from overbook.agent.deaths import Calls
from overbook.agent.servers.protocol import (
    Addresses,
    Exposition,
    InferenceServer,
    PreparedModel,
    Presence,
    ProcessMemory,
    Weight,
)


class ReplaceableServer:
    """``make``: a server, not started, that keeps its things in the folder given to it."""

    def __init__(self, make: Callable[[Path], InferenceServer], folder: Path) -> None:
        self._make = make
        self._folders = (folder, folder / "spare")
        self._current = make(folder)
        self._spare: InferenceServer | None = None
        self._swapped = asyncio.Event()

    async def prepare(self, *, timeout: float) -> None:
        """Start a spare beside the current one. Raises ServerStartFailed, and then there is none."""
        if self._spare is not None:
            return
        spare = self._make(self._folders[1])
        try:
            await spare.start(timeout=timeout)
        except BaseException:
            await spare.close()
            raise
        self._spare = spare
        self._folders = (self._folders[1], self._folders[0])

    async def swap(self) -> bool:
        """The spare is the current one from now on, and the old one is gone. False: there was no spare."""
        if self._spare is None:
            return False
        old, self._current, self._spare = self._current, self._spare, None
        self._swapped.set()
        self._swapped = asyncio.Event()
        await old.close()
        return True

    # -- the current one

    @property
    def addresses(self) -> Addresses:
        return self._current.addresses

    @property
    def pid(self) -> int | None:
        return self._current.pid

    @property
    def counts_requests(self) -> bool:
        return self._current.counts_requests

    async def start(self, *, timeout: float) -> None:
        await self._current.start(timeout=timeout)

    async def stop(self, *, grace: float) -> None:
        await self._current.stop(grace=grace)

    async def close(self) -> None:
        spare, self._spare = self._spare, None
        await self._current.close()
        if spare is not None:
            await spare.close()

    async def wait_exit(self) -> int:
        return await self._current.wait_exit()

    async def live(self, *, timeout: float) -> bool:
        return await self._current.live(timeout=timeout)

    def open_calls(self) -> Calls | None:
        return self._current.open_calls()

    async def validate(self, model: PreparedModel) -> None:
        await self._current.validate(model)

    async def load(self, model: PreparedModel, *, timeout: float) -> None:
        await self._current.load(model, timeout=timeout)

    async def unload(
        self, name: str, *, timeout: float, idle: bool = False, measure: bool = False
    ) -> int | None:
        return await self._current.unload(name, timeout=timeout, idle=idle, measure=measure)

    async def settle(self, name: str, passed: Mapping[str, int], *, timeout: float) -> None:
        await self._current.settle(name, passed, timeout=timeout)

    async def idle(self, name: str, passed: Mapping[str, int], *, timeout: float) -> bool:
        return await self._current.idle(name, passed, timeout=timeout)

    async def presence(self, name: str, *, timeout: float) -> Presence:
        return await self._current.presence(name, timeout=timeout)

    async def index(self, *, timeout: float) -> Mapping[str, Presence]:
        return await self._current.index(timeout=timeout)

    async def metadata(self, name: str, *, timeout: float) -> Mapping[str, object]:
        return await self._current.metadata(name, timeout=timeout)

    async def static_metadata(self, model: PreparedModel) -> Mapping[str, object]:
        return await self._current.static_metadata(model)

    async def memory(self) -> ProcessMemory:
        return await self._current.memory()

    async def model_memory(self, name: str) -> ProcessMemory | None:
        return await self._current.model_memory(name)

    @property
    def weighs(self) -> bool:
        return self._current.weighs

    async def weigh(
        self, model: PreparedModel, *, timeout: float, request: bytes | None = None
    ) -> Weight | None:
        return await self._current.weigh(model, timeout=timeout, request=request)

    async def sample(self, name: str) -> bytes | None:
        return await self._current.sample(name)

    async def grown(self, name: str) -> int | None:
        return await self._current.grown(name)

    async def borrowed(self) -> int:
        return await self._current.borrowed()

    async def metrics(self, *, timeout: float) -> Exposition | None:
        return await self._current.metrics(timeout=timeout)

    async def wait_lost(self) -> str:
        while True:
            lost = asyncio.create_task(self._current.wait_lost())
            swapped = asyncio.create_task(self._swapped.wait())
            try:
                await asyncio.wait({lost, swapped}, return_when=asyncio.FIRST_COMPLETED)
                if lost.done():
                    return lost.result()
            finally:
                lost.cancel()
                swapped.cancel()
