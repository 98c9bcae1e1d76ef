"""The connection to an inference server that somebody else started: found, checked, and let go of again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.agent.servers.attached.kinds import AttachedKind, Control
from overbook.agent.servers.attached.listening import listening_process, resolved
from overbook.agent.servers.protocol import Addresses, ServerStartFailed, ServerUnreachable

PROBE: Final = 2.0
CALL: Final = 30.0


@dataclass(frozen=True, slots=True)
class Attachment:
    """``rest``, ``grpc``: host:port. ``repository``: the shared folder as this machine sees it.

    ``server_path``: the same folder as the server sees it, for messages; "" when nobody said.
    """

    rest: str
    grpc: str
    repository: Path
    server_path: str = ""


class Connection:
    """At most one control connection at a time. ``connect`` makes it; ``again``: seconds between two looks for life."""

    def __init__(
        self,
        attachment: Attachment,
        kind: AttachedKind,
        connect: Callable[[Addresses], Control],
        again: float,
    ) -> None:
        self._attachment = attachment
        self._kind = kind
        self._connect_to = connect
        self._again = again
        self._addresses = Addresses(rest="", grpc="")
        self._client: Control | None = None
        self._pid: int | None = None

    @property
    def addresses(self) -> Addresses:
        """With names resolved, as the data plane needs them; empty before the first `opening`."""
        return self._addresses

    @property
    def pid(self) -> int | None:
        """Of the server, when it runs on this machine and may be seen."""
        return self._pid

    @property
    def client(self) -> Control:
        """Raises ServerUnreachable when there is no connection."""
        if self._client is None:
            raise ServerUnreachable(f"{self._kind.name} is not connected")
        return self._client

    @contextlib.asynccontextmanager
    async def opening(self, timeout: float) -> AsyncIterator[Control]:
        """Finds the server, and is connected once the context ends well.

        Raises ServerStartFailed, and ServerUnreachable when it goes away meanwhile.
        """
        self._addresses = Addresses(
            rest=await resolved("rest", self._attachment.rest),
            grpc=await resolved("grpc", self._attachment.grpc),
        )
        client = self._connect_to(self._addresses)
        try:
            await self._until_live(client, timeout)
            await self._kind.check(client, timeout=CALL)
            self._pid = await asyncio.to_thread(
                listening_process, self._addresses.rest, self._kind.command
            )
            yield client
        except BaseException:
            await client.close()
            raise
        self._client = client

    @contextlib.asynccontextmanager
    async def another(self) -> AsyncIterator[Control]:
        """A connection for once, to where the server was found last."""
        client = self._connect_to(self._addresses)
        try:
            yield client
        finally:
            await client.close()

    async def live(self, *, timeout: float) -> bool:
        client = self._client
        return client is not None and await client.live_rest(timeout=timeout)

    async def close(self) -> None:
        client, self._client, self._pid = self._client, None, None
        if client is not None:
            await client.close()

    async def _until_live(self, client: Control, timeout: float) -> None:
        deadline = asyncio.get_running_loop().time() + timeout
        rest = grpc = False
        while not (rest and grpc):
            rest = rest or await client.live_rest(timeout=PROBE)
            grpc = rest and await client.live_grpc(timeout=PROBE)
            if not (rest and grpc):
                if asyncio.get_running_loop().time() >= deadline:
                    field, where = (
                        ("grpc", self._attachment.grpc) if rest else ("rest", self._attachment.rest)
                    )
                    raise ServerStartFailed(
                        f"{self._kind.name}: spec.address.{field}: no live server answers at {where}; "
                        "start it, or correct the address"
                    )
                await asyncio.sleep(self._again)
