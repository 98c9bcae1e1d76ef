"""The adapter to an inference server that somebody else started: it connects, loads and unloads, and ends nothing.

Theory of operation. `start` connects and takes stock: what the server holds that the shared folder's record names
is ours, all else is foreign and is only shown. Of ours, what is loaded just as it lies in the folder is inherited:
a `load` of that content is then done without the server. Whatever is not asked for within a few seconds is unloaded,
and until then no other load begins: its memory is in nobody's ledger. So the server counts as empty, as after
the start of a process, and still nothing is loaded twice.

Only what is loaded lies in the folder: an MLServer that starts again loads all that it finds there.

A load that does not end cannot be ended from here. It is given up, its model refused while it lasts, and what it brings
in the end is unloaded; other models do not notice.

A server is lost when it does not answer several times in a row, or no longer holds what it was told to load: it was
started again then. Loss is what the end of a process is elsewhere: the supervisor connects anew. Nothing is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.agent.looking import failing_alone, looked
from overbook.agent.servers.attached.folder import (
    FolderUnusable,
    SharedFolder,
    digest_of,
)
from overbook.agent.servers.attached.kinds import AttachedKind, Control
from overbook.agent.servers.attached.listening import listening_process, resolved
from overbook.agent.servers.attached.stock import foreign, lost, take_stock
from overbook.agent.servers.launched.process import tree_memory
from overbook.agent.servers.oip import OipClient
from overbook.agent.servers.protocol import (
    Addresses,
    ModelRejected,
    PreparedModel,
    Presence,
    ProcessMemory,
    ServerStartFailed,
    ServerUnreachable,
)
from overbook.agent.servers.unweighed import Unweighed

log = logging.getLogger(__name__)

_MIB: Final = 1024 * 1024
_PROBE: Final = 2.0
_CALL: Final = 30.0
# An index may cost the server as much as it has models: where it takes long it is looked at less often.
_INDEX_SHARE: Final = 100.0
_UNLOAD_LOOK: Final = 0.02
_UNLOADING: Final = 15.0
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


@dataclass(frozen=True, slots=True)
class Attachment:
    """``rest``, ``grpc``: host:port. ``repository``: the shared folder as this machine sees it.

    ``server_path``: the same folder as the server sees it, for messages; "" when nobody said.
    """

    rest: str
    grpc: str
    repository: Path
    server_path: str = ""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A model that the server holds and Overbook did not put there. ``bytes``: None when they cannot be seen."""

    name: str
    presence: Presence
    bytes: int | None = None


class AttachedServer(Unweighed):
    """An `InferenceServer`. ``foreign``: what it holds besides ours, as last seen.

    ``connect`` makes the control connection; ``on_foreign`` is called whenever ``foreign`` has changed.
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
        self._connect_to = connect
        self._kind = kind
        self._folder = SharedFolder(attachment.repository)
        self._addresses = Addresses(rest="", grpc="")
        self._client: Control | None = None
        self._pid: int | None = None
        self._loaded: set[str] = set()
        self._inherited: dict[str, str] = {}
        self._stuck: set[str] = set()
        self._freeing = asyncio.Lock()
        self._settled = asyncio.Event()
        self._clearing: asyncio.Task[None] | None = None
        self.foreign: tuple[Foreign, ...] = ()
        self._on_foreign = on_foreign

    @property
    def addresses(self) -> Addresses:
        """With names resolved, as the data plane needs them; empty before the first `start`."""
        return self._addresses

    @property
    def pid(self) -> int | None:
        """Of the server, when it runs on this machine and may be seen."""
        return self._pid

    @property
    def counts_requests(self) -> bool:
        return False

    async def start(self, *, timeout: float) -> None:
        """Connect, and take stock of what is there. Raises ServerStartFailed."""
        await self._let_go()
        try:
            await asyncio.to_thread(self._folder.open)
            self._addresses = Addresses(
                rest=await resolved("rest", self._attachment.rest),
                grpc=await resolved("grpc", self._attachment.grpc),
            )
            client = self._connect_to(self._addresses)
            try:
                await self._connect(client, timeout)
            except BaseException:
                await client.close()
                raise
        except (FolderUnusable, ServerUnreachable) as error:
            raise ServerStartFailed(f"{self._kind.name}: {error}") from error
        self._client = client
        self._clearing = asyncio.create_task(self._clear(), name="unload what nobody asked for")

    async def stop(self, *, grace: float) -> None:
        """Let go of it. It goes on running, with what it has loaded."""
        await self._let_go()

    async def close(self) -> None:
        await self._let_go()

    async def release(self, *, timeout: float) -> None:
        """Unload and remove everything of ours: the server is not to be used any more."""
        if not self._addresses.grpc:
            return
        client = self._connect_to(self._addresses)
        try:
            for name in self._folder.placed.keys() - self._stuck:
                with contextlib.suppress(ServerUnreachable, ModelRejected):
                    await client.unload(name, timeout=timeout)
                await asyncio.to_thread(self._folder.remove, name)
        finally:
            await client.close()

    async def wait_exit(self) -> int:
        """Wait until the server is lost. Raises ServerUnreachable then; it has no exit code."""
        loop = asyncio.get_running_loop()
        strikes, next_index = 0, loop.time() + self._pace.index
        while True:
            await asyncio.sleep(self._pace.again if strikes else self._pace.poll)
            client = self._connected()
            if not await client.live_rest(timeout=_PROBE):
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

    async def live(self, *, timeout: float) -> bool:
        client = self._client
        return client is not None and await client.live_rest(timeout=timeout)

    async def validate(self, model: PreparedModel) -> None:
        if any(each.name == model.name for each in self.foreign):
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
        client = self._connected()
        if self._take_inherited(name) == digest:
            self._loaded.add(name)
            return
        await self._settled.wait()
        await self._refuse_if_stuck(client, name)
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
            if not await client.live_rest(timeout=_PROBE):
                raise
            self._stuck.add(name)
            raise ModelRejected(
                f"{name}: its load did not end within {timeout * _LOAD_SHARE:g} s; {self._kind.name} goes on with "
                "it, which only who started that can end",
                passing=True,
            ) from error
        except ModelRejected as error:
            if name not in self._loaded:
                await asyncio.to_thread(self._folder.remove, name)
            told = f"{self._kind.name} refused {name}: {error}"
            raise ModelRejected(f"{told}{self._advice(str(error))}") from error
        await asyncio.to_thread(self._folder.loaded, name)
        self._loaded.add(name)

    async def unload(
        self, name: str, *, timeout: float, idle: bool = False, measure: bool = False
    ) -> int | None:
        client = self._connected()
        self._take_inherited(name)
        if name in self._stuck and name not in self._loaded:
            return None  # nothing to unload, and the server would not answer before that load has ended
        self._loaded.discard(name)
        await self._unload(client, name, timeout)
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
        found = await self._connected().index(timeout=timeout)
        return {name: each for name, each in found.items() if name in self._folder.placed}

    async def metadata(self, name: str, *, timeout: float) -> Mapping[str, object]:
        return await self._connected().metadata(name, timeout=timeout)

    async def static_metadata(self, model: PreparedModel) -> Mapping[str, object]:
        return await looked(model.name, "its metadata", lambda: self._kind.static_metadata(model))

    async def memory(self) -> ProcessMemory:
        """Zero processes when it is not to be seen from here."""
        if self._pid is None:
            return ProcessMemory(bytes=0, processes=0)
        return await asyncio.to_thread(tree_memory, self._pid)

    async def model_memory(self, name: str) -> ProcessMemory | None:
        if self._pid is None:
            return None
        return await asyncio.to_thread(self._kind.model_memory, self._pid, name)

    async def wait_lost(self) -> str:
        """Nobody sees processes of a server that somebody else started: requests tell, and `wait_exit` does."""
        never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return await never

    # -- connecting

    async def _connect(self, client: Control, timeout: float) -> None:
        deadline = asyncio.get_running_loop().time() + timeout
        rest = grpc = False
        while not (rest and grpc):
            rest = rest or await client.live_rest(timeout=_PROBE)
            grpc = rest and await client.live_grpc(timeout=_PROBE)
            if not (rest and grpc):
                if asyncio.get_running_loop().time() >= deadline:
                    field, where = (
                        ("grpc", self._attachment.grpc) if rest else ("rest", self._attachment.rest)
                    )
                    raise ServerStartFailed(
                        f"{self._kind.name}: spec.address.{field}: nothing that is live answers at {where}; "
                        "start it, or correct the address"
                    )
                await asyncio.sleep(self._pace.again)
        await self._kind.check(client, timeout=_CALL)
        self._pid = await asyncio.to_thread(
            listening_process, self._addresses.rest, self._kind.command
        )
        await self._take_stock(client)

    async def _take_stock(self, client: Control) -> None:
        """Who is whose; of ours, what can be inherited stays, and the rest is unloaded now."""
        found = await client.index(timeout=_CALL)
        await self._see_foreign(found)
        stock = take_stock(found, self._folder.placed)
        self._loaded.clear()
        self._inherited, self._stuck = dict(stock.inherited), set(stock.stuck)
        for name in stock.leaving:
            await self._unload(client, name, _CALL)
        self._settled.clear()
        if not self._inherited:
            self._settled.set()

    async def _clear(self) -> None:
        """Unloads what was inherited and not asked for in time; until then nothing else is loaded."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pace.inherit):
                await self._settled.wait()
        client = self._connected()
        while self._inherited:
            name, _ = self._inherited.popitem()
            try:
                await self._unload(client, name, _CALL)
            except ServerUnreachable as error:
                log.warning("unload of %s, which nobody asked for: %s", name, error)
        self._settled.set()

    def _take_inherited(self, name: str) -> str | None:
        digest = self._inherited.pop(name, None)
        if not self._inherited:
            self._settled.set()
        return digest

    async def _let_go(self) -> None:
        clearing, self._clearing = self._clearing, None
        if clearing is not None:
            clearing.cancel()
            await asyncio.wait((clearing,))
        client, self._client, self._pid = self._client, None, None
        if client is not None:
            await client.close()

    def _connected(self) -> Control:
        if self._client is None:
            raise ServerUnreachable(f"{self._kind.name} is not connected")
        return self._client

    # -- watching

    async def _look(self, client: Control) -> None:
        """Raises ServerUnreachable when models are gone that were loaded: it was started again."""
        held = set(self._loaded)
        try:
            found = await client.index(timeout=_CALL)
        except ServerUnreachable:
            return  # the next probe tells whether it is gone or only busy
        await self._see_foreign(found)
        await self._free_stuck(client, found)
        if gone := lost(held & self._loaded, found):
            raise ServerUnreachable(
                f"it no longer holds {', '.join(gone[:3])}: it was started again"
            )

    async def _free_stuck(self, client: Control, found: Mapping[str, Presence]) -> None:
        """Loads that were given up and have ended since: nobody counts with what they brought."""
        async with self._freeing:
            for name in list(self._stuck):
                if found.get(name, Presence.ABSENT) is not Presence.LOADING:
                    if name not in self._loaded:
                        await self._unload(client, name, _CALL)
                    self._stuck.discard(name)

    async def _refuse_if_stuck(self, client: Control, name: str) -> None:
        if name not in self._stuck:
            return
        found = await client.index(timeout=_CALL)
        if found.get(name, Presence.ABSENT) is Presence.LOADING:
            raise ModelRejected(
                f"{name}: an earlier load of it has not ended in {self._kind.name}, and only who started that can "
                "end it",
                passing=True,
            )
        await self._free_stuck(client, found)

    async def _see_foreign(self, found: Mapping[str, Presence]) -> None:
        before = self.foreign
        self.foreign = tuple(
            [
                Foreign(name, state, await self._bytes_of(name))
                for name, state in foreign(found, self._folder.placed.keys()).items()
            ]
        )
        if self.foreign != before:
            self._on_foreign()

    async def _bytes_of(self, name: str) -> int | None:
        own = await self.model_memory(name)
        # To the MiB: what breathes a little is no news.
        return None if own is None else own.bytes // _MIB * _MIB

    # -- models

    def _publish(self, model: PreparedModel, digest: str) -> None:
        self._folder.begin(model.name, digest)
        self._kind.publish(model, self._folder)

    async def _unload(self, client: Control, name: str, timeout: float) -> None:
        """Until the server has let go; then the files go too, lest it loads them when it starts again."""
        try:
            await client.unload(name, timeout=timeout)
        except ModelRejected as error:
            raise ServerUnreachable(f"unload of {name}: {error}") from error
        async with asyncio.timeout(timeout):
            await self._until_absent(client, name, timeout)
        await asyncio.to_thread(self._folder.remove, name)

    async def _until_absent(self, client: Control, name: str, timeout: float) -> None:
        """Triton answers an unload before it has let go; after a crash inside it may be unloading for ever."""
        end = asyncio.get_running_loop().time() + _UNLOADING
        while asyncio.get_running_loop().time() < end:
            states = await client.index_states(timeout=timeout)
            if states.get(name, "").rpartition(".")[2] in ("", "UNAVAILABLE"):
                return
            await asyncio.sleep(_UNLOAD_LOOK)
        log.warning(
            "%s says after %g s still that it unloads %s", self._kind.name, _UNLOADING, name
        )

    def _advice(self, reason: str) -> str:
        """Where the server found nothing, it most likely looks elsewhere."""
        if not any(each in reason for each in _NOT_FOUND):
            return ""
        seen = self._attachment.server_path
        return (
            f"; is spec.modelRepository.path {str(self._folder.path)!r} the folder that it reads"
            f"{f', as {seen!r}' if seen else ''}?"
        )
