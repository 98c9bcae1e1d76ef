"""The adapter to an inference server that somebody else started: it connects, loads and unloads, and ends nothing.

Theory of operation. `start` connects and takes stock: what the server holds that the shared folder's record names is
ours (`ours`), all else is foreign and is only shown (`foreign`). Of ours, what is loaded just as it lies in the folder
is inherited: a `load` of that content is then done without the server. Whatever is not asked for within a few seconds
is unloaded, and until then no other load begins: its memory is in nobody's ledger. So the server counts as empty, as
after the start of a process, and still nothing is loaded twice.

Only what is loaded lies in the folder: an MLServer that starts again loads all that it finds there.

A server is lost when it does not answer several times in a row, or no longer holds what it was told to load: it was
started again then. Loss is what the end of a process is elsewhere: the supervisor connects anew. Nothing is killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from overbook.agent.looking import failing_alone, looked
from overbook.agent.servers.attached.connection import CALL, PROBE, Attachment, Connection
from overbook.agent.servers.attached.folder import FolderUnusable, SharedFolder, digest_of
from overbook.agent.servers.attached.foreign import Foreign, ForeignModels
from overbook.agent.servers.attached.kinds import AttachedKind, Control
from overbook.agent.servers.attached.ours import OurModels
from overbook.agent.servers.launched.process import tree_memory
from overbook.agent.servers.oip import OipClient
from overbook.agent.servers.protocol import (
    Addresses,
    Exposition,
    ModelRejected,
    PreparedModel,
    Presence,
    ProcessMemory,
    ServerStartFailed,
    ServerUnreachable,
)
from overbook.agent.servers.unweighed import Unweighed

# An index may cost the server as much as it has models: where it takes long it is looked at less often.
_INDEX_SHARE: Final = 100.0
# A load is given up before its caller does, to tell the one model from the whole server.
_LOAD_SHARE: Final = 0.95
# Triton's and MLServer's words for a name that they find no files of.
_NOT_FOUND: Final = ("failed to poll from model repository", "not found")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between looks at the server: while it answers, after it did not, and at its index.

    ``strikes``: so many looks in vain, and it is lost. ``inherit``: so long may pass until what it has loaded of
    ours is asked for.
    """

    poll: float = 1.0
    again: float = 0.2
    index: float = 5.0
    strikes: int = 3
    inherit: float = 3.0


class AttachedServer(Unweighed):
    """An `InferenceServer`. ``connect`` makes the control connection; ``on_foreign`` is called whenever `foreign` has
    changed.
    """

    def __init__(
        self,
        attachment: Attachment,
        kind: AttachedKind,
        on_foreign: Callable[[], None],
        connect: Callable[[Addresses], Control] = OipClient,
        pace: Pace | None = None,
    ) -> None:
        self._pace = pace or Pace()
        self._attachment = attachment
        self._kind = kind
        self._folder = SharedFolder(attachment.repository)
        self._connection = Connection(attachment, kind, connect, self._pace.again)
        self._ours = OurModels(self._folder, kind.name, self._pace.inherit)
        self._foreign = ForeignModels(self.model_memory, on_foreign)

    @property
    def addresses(self) -> Addresses:
        """With names resolved, as the data plane needs them; empty before the first `start`."""
        return self._connection.addresses

    @property
    def pid(self) -> int | None:
        """Of the server, when it runs on this machine and may be seen."""
        return self._connection.pid

    @property
    def foreign(self) -> tuple[Foreign, ...]:
        """What it holds besides ours, as last seen."""
        return self._foreign.seen

    @property
    def counts_requests(self) -> bool:
        return False

    async def start(self, *, timeout: float) -> None:
        """Connect, and take stock of what is there. Raises ServerStartFailed."""
        await self._let_go()
        try:
            await asyncio.to_thread(self._folder.open)
            async with self._connection.opening(timeout) as client:
                found = await client.index(timeout=CALL)
                await self._foreign.look(found, self._folder.placed.keys())
                await self._ours.take_over(client, found)
        except (FolderUnusable, ServerUnreachable) as error:
            raise ServerStartFailed(f"{self._kind.name}: {error}") from error
        self._ours.clear_later(client)

    async def stop(self, *, grace: float) -> None:
        """Let go of it. It goes on running, with what it has loaded."""
        await self._let_go()

    async def close(self) -> None:
        await self._let_go()

    async def release(self, *, timeout: float) -> None:
        """Unload and remove everything of ours: the server is not to be used any more."""
        if not self._connection.addresses.grpc:
            return
        async with self._connection.another() as client:
            await self._ours.release(client, timeout)

    async def _let_go(self) -> None:
        await self._ours.let_go()
        await self._connection.close()

    async def wait_exit(self) -> int:
        """Wait until the server is lost. Raises ServerUnreachable then; it has no exit code."""
        loop = asyncio.get_running_loop()
        strikes, next_index = 0, loop.time() + self._pace.index
        while True:
            await asyncio.sleep(self._pace.again if strikes else self._pace.poll)
            client = self._connection.client
            if not await client.live_rest(timeout=PROBE):
                strikes += 1
                if strikes >= self._pace.strikes:
                    raise ServerUnreachable(f"{self._attachment.rest} does not answer any more")
                continue
            strikes = 0
            if loop.time() >= next_index:
                began = loop.time()
                await self._look(client)
                took = loop.time() - began
                next_index = loop.time() + max(self._pace.index, took * _INDEX_SHARE)

    async def _look(self, client: Control) -> None:
        """Raises ServerUnreachable when models are gone that were loaded: it was started again."""
        held = self._ours.held
        try:
            found = await client.index(timeout=CALL)
        except ServerUnreachable:
            return  # the next probe tells whether it is gone or only busy
        await self._foreign.look(found, self._folder.placed.keys())
        await self._ours.look(client, found, held)

    async def live(self, *, timeout: float) -> bool:
        return await self._connection.live(timeout=timeout)

    async def validate(self, model: PreparedModel) -> None:
        if self._foreign.has(model.name):
            raise ModelRejected(
                f"model {model.name}: the attached {self._kind.name} has a model of this name that Overbook did not "
                "put there; choose another name, or take that one away",
                passing=True,
            )
        await looked(model.name, f"its files for {self._kind.name}", lambda: self._check(model))

    def _check(self, model: PreparedModel) -> None:
        self._folder.check_name(model.name)
        self._kind.validate(model)

    async def load(self, model: PreparedModel, *, timeout: float) -> None:
        name, digest = model.name, digest_of(model)
        client = self._connection.client
        if self._ours.claim(name, digest):
            return
        await self._ours.may_load(client, name)
        await self.validate(model)
        with failing_alone(name, f"its files on their way into {self._attachment.repository}"):
            try:
                await asyncio.to_thread(self._publish, model, digest)
            except OSError as error:
                raise ModelRejected(
                    f"model {name}: its files cannot be copied into {self._attachment.repository}: {error}",
                    passing=True,
                ) from error
        try:
            await client.load(name, timeout=timeout * _LOAD_SHARE)
        except ServerUnreachable as error:
            if not await client.live_rest(timeout=PROBE):
                raise
            self._ours.gave_up(name)
            raise ModelRejected(
                f"{name}: its load did not end within {timeout * _LOAD_SHARE:g} s; {self._kind.name} goes on with "
                "it, which only who started that can end",
                passing=True,
            ) from error
        except ModelRejected as error:
            await self._ours.refused(name)
            told = f"{self._kind.name} refused {name}: {error}"
            raise ModelRejected(f"{told}{self._advice(str(error))}") from error
        await self._ours.loaded(name)

    async def unload(
        self, name: str, *, timeout: float, idle: bool = False, measure: bool = False
    ) -> int | None:
        await self._ours.unload(self._connection.client, name, timeout)
        return None

    async def settle(self, name: str, passed: Mapping[str, int], *, timeout: float) -> None:
        """Gateways look for themselves what is in flight."""

    async def idle(self, name: str, passed: Mapping[str, int], *, timeout: float) -> bool:
        return False

    async def presence(self, name: str, *, timeout: float) -> Presence:
        # Asked whether a model is ready, Triton says the same of one that loads and of one that is not there.
        return (await self.index(timeout=timeout)).get(name, Presence.ABSENT)

    async def index(self, *, timeout: float) -> Mapping[str, Presence]:
        """Of ours only."""
        found = await self._connection.client.index(timeout=timeout)
        return {name: each for name, each in found.items() if name in self._folder.placed}

    async def metadata(self, name: str, *, timeout: float) -> Mapping[str, object]:
        return await self._connection.client.metadata(name, timeout=timeout)

    async def static_metadata(self, model: PreparedModel) -> Mapping[str, object]:
        return await looked(model.name, "its metadata", lambda: self._kind.static_metadata(model))

    async def memory(self) -> ProcessMemory:
        """Zero processes when it is not to be seen from here."""
        if self._connection.pid is None:
            return ProcessMemory(bytes=0, processes=0)
        return await asyncio.to_thread(tree_memory, self._connection.pid)

    async def model_memory(self, name: str) -> ProcessMemory | None:
        if self._connection.pid is None:
            return None
        return await asyncio.to_thread(self._kind.model_memory, self._connection.pid, name)

    async def metrics(self, *, timeout: float) -> Exposition | None:
        """Nobody says where it shows them. Whoever runs it can have it scraped as it is."""
        return None

    async def wait_lost(self) -> str:
        """Nobody sees processes of a server that somebody else started: requests tell, and `wait_exit` does."""
        never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return await never

    def _publish(self, model: PreparedModel, digest: str) -> None:
        self._folder.begin(model.name, digest)
        self._kind.publish(model, self._folder)

    def _advice(self, reason: str) -> str:
        """Where the server found nothing, it most likely looks elsewhere."""
        if not any(each in reason for each in _NOT_FOUND):
            return ""
        seen = self._attachment.server_path
        return (
            f"; is spec.modelRepository.path {str(self._folder.path)!r} the folder that it reads"
            f"{f', as {seen!r}' if seen else ''}?"
        )
