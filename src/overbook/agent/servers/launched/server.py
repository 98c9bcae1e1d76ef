"""An inference server that this agent started: its process, its sockets, its control client, until it is live.

What a kind of server does beyond that (its command, its folders, its models) is its adapter's.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from overbook.agent.servers.launched.process import ProcessSpec, ServerProcess
from overbook.agent.servers.launched.sockets import ServerSockets
from overbook.agent.servers.oip import OipClient
from overbook.agent.servers.protocol import (
    Addresses,
    ProcessMemory,
    ServerStartFailed,
    ServerUnreachable,
)

_POLL_SECONDS: Final = 0.05
_PROBE_SECONDS: Final = 2.0


class LaunchedServer:
    """What adapters of started servers share. ``title`` is the server's name in messages.

    ``specify`` makes the process' description, given where it is to listen.
    """

    def __init__(
        self, title: str, sockets: ServerSockets, specify: Callable[[Addresses], ProcessSpec]
    ) -> None:
        self._title = title
        self._sockets = sockets
        self._process = ServerProcess(specify(sockets.addresses))
        self._client: OipClient | None = None

    @property
    def addresses(self) -> Addresses:
        return self._sockets.addresses

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def shared(self) -> bytes:
        """See `ServerProcess.shared`."""
        return self._process.shared

    @property
    def client(self) -> OipClient:
        """Raises ServerUnreachable when the process does not run."""
        if self._client is None or self._process.pid is None:
            raise ServerUnreachable(f"{self._title} is not running")
        return self._client

    async def start(self, *, timeout: float) -> None:
        """Return once it is live over both protocols. Raises ServerStartFailed."""
        await self._disconnect()
        if self.pid is None:
            await asyncio.to_thread(self._sockets.prepare)
        await self._process.start()
        client = OipClient(self.addresses)
        try:
            await asyncio.wait_for(self._until_live(client), timeout)
            await asyncio.to_thread(self._sockets.close)
        except TimeoutError:
            reason = f"not live after {timeout:g} s; its log ends: {self._process.log_tail()}"
            await self._give_up(client)
            raise ServerStartFailed(f"{self._title}: {reason}") from None
        except BaseException:
            await self._give_up(client)
            raise
        self._client = client

    async def stop(self, *, grace: float) -> None:
        await self._disconnect()
        await self._process.stop(grace=grace)

    async def close(self) -> None:
        """Stop at once; its sockets go."""
        await self.stop(grace=0)
        self._process.forget()
        await asyncio.to_thread(self._sockets.remove)

    async def wait_exit(self) -> int:
        return await self._process.wait_exit()

    async def live(self, *, timeout: float) -> bool:
        client = self._client
        await self._process.look()
        return client is not None and await client.live_rest(timeout=timeout)

    async def look_at_metrics(self, *, most: int, timeout: float) -> tuple[bytes, bool]:
        """See `OipClient.metrics`."""
        return await self.client.metrics(most=most, timeout=timeout)

    async def memory(self) -> ProcessMemory:
        return await self._process.memory()

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _give_up(self, client: OipClient) -> None:
        await client.close()
        await self._process.stop(grace=0)

    async def _until_live(self, client: OipClient) -> None:
        rest = grpc = False
        while not (rest and grpc):
            if self._process.pid is None:
                raise ServerStartFailed(
                    f"{self._title} ended with code {self._process.exit_code} while it started; "
                    f"its log ends: {self._process.log_tail()}"
                )
            rest = rest or await client.live_rest(timeout=_PROBE_SECONDS)
            grpc = rest and await client.live_grpc(timeout=_PROBE_SECONDS)
            if not (rest and grpc):
                await asyncio.sleep(_POLL_SECONDS)


def emptied(folder: Path) -> None:
    """Make the folder, without what an earlier run left in it. Blocks."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


def tuned(environment: Mapping[str, str], threads: int) -> dict[str, str]:
    """The environment with what makes many models share a machine well; what the user set himself stays.

    ``threads``: for OpenMP and BLAS inside one prediction; 0 means half of the machine's.
    """
    made = dict(environment)
    count = str(threads or max(1, (os.cpu_count() or 2) // 2))
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        made.setdefault(variable, count)
    # Threads that spin after a prediction take the CPU from the next model's.
    made.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # From 1.32 on ONNX Runtime sends what it does to its makers unless it is told not to (its Privacy.md).
    made.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # With these two glibc gives the memory of an unloaded model back to the kernel.
    return made | {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "65536"}
