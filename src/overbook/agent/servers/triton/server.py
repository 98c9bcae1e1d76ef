"""The adapter to Triton from PyPI: models of one generation each, in version folder 1, in explicit control mode.

What Triton does, and what follows from it here:

- A model of a Python-based backend runs in processes of its own, its stubs. A stub that dies leaves the model READY
  and answering errors, and a load changes nothing then. So stubs are watched: one that ends is unloaded at once, which
  makes requests see a 404, and is told as lost.
- A load whose stub hangs ends when that stub is killed; nothing else notices.
- An unload is answered at once, while the memory is there until the last request in flight has its answer and the stub
  is gone. It is done here when the stub is; the index may say UNLOADING for ever after a crash.
- Between the last answer and the end of a stub Triton waits a whole second, to see whether the stub is well. A stub
  that is idle and has nothing to finalize is killed instead: an eviction costs others some 10 ms. It is halted before
  the unload, so that it holds no lock when it dies, and has not just told Triton that it is well: a thread of Triton's
  would wait for its farewell for ever.
- A reload starts the new stub beside the old one, and a failing one leaves the old one serving.
- Calls go over gRPC: a load over HTTP would hold up inference on the same threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from overbook.agent.looking import looked
from overbook.agent.servers.launched.environment import server_environment
from overbook.agent.servers.launched.process import ProcessSpec
from overbook.agent.servers.launched.server import LaunchedServer, emptied, tuned
from overbook.agent.servers.launched.sockets import ServerSockets
from overbook.agent.servers.oip import OipClient
from overbook.agent.servers.protocol import (
    Addresses,
    Configuration,
    Exposition,
    Lives,
    ModelRejected,
    PreparedModel,
    Presence,
    ProcessMemory,
    ServerError,
    ServerUnreachable,
    Unkept,
    Warn,
    unheard,
)
from overbook.agent.servers.triton import config, stubs
from overbook.agent.servers.triton.backends import pip_offer
from overbook.agent.servers.triton.measured import Measured
from overbook.agent.servers.unweighed import Unweighed
from overbook.agent.servers.versions import Versions

# Relative to the server's working folder, see the launcher.
_REPOSITORY: Final = "models"
# What is looked at, for messages.
_FILES: Final = "its files for Triton, such as config.pbtxt,"
# Triton notices within two seconds that a stub was killed.
_RESERVE_SECONDS: Final = 5.0
_BURIAL_SECONDS: Final = 5.0
_REPLACED_SECONDS: Final = 5.0
# A stub whose answer is out has milliseconds of work left; how long they take is the machine's.
_HALT_WORK_SECONDS: Final = 0.2
_HALT_SECONDS: Final = 5.0
_REASON: Final = re.compile(r"version \d+ is at UNAVAILABLE state: (.*?);?$")
_DIED: Final = re.compile(r"^Internal: Stub process '.*' is not healthy\.$")


@dataclass(frozen=True, slots=True)
class TritonConfig:
    """Where Triton is installed and where this one server replica keeps its things.

    ``python``: of the runtime's environment. ``plugin``: the folder with the launcher package.
    ``state``: private to this replica; gets ``server/`` with the model repository, and ``server.json``.
    ``threads``: for OpenMP and BLAS inside one prediction; 0 means half of the machine's.
    ``extras``: those of the runtime that are installed. ``warn``: is told what may be wrong with models; ``lives``:
    of their metrics. ``log``: what the process writes; without it a file in ``state``.
    """

    python: Path
    plugin: Path
    state: Path
    threads: int = 0
    extras: frozenset[str] = frozenset()
    warn: Warn = unheard
    lives: Lives = field(default_factory=Unkept)
    log: Path | None = None


class TritonServer(Unweighed):
    """An `InferenceServer`. Make it inside the event loop that uses it; `close` it when done with it."""

    def __init__(self, config: TritonConfig) -> None:
        self._segments = _segments(config)
        self._repository = config.state / "server" / _REPOSITORY
        self._offer = pip_offer(config.extras)
        self._warn = config.warn
        self._versions = Versions(config.python.parent.parent)
        self._launched = LaunchedServer(
            "Triton",
            ServerSockets(config.state, metrics=True),
            lambda addresses: _process_spec(config, addresses),
        )
        self._watch = stubs.StubWatch(self._on_lost)
        self._burials: dict[str, asyncio.Task[None]] = {}
        self._losses: asyncio.Queue[str] = asyncio.Queue()
        self._finalizing: set[str] = set()  # models with code to run at their end
        self._measured = Measured(self._launched.look_at_metrics, config.lives)

    @property
    def addresses(self) -> Addresses:
        return self._launched.addresses

    @property
    def pid(self) -> int | None:
        return self._launched.pid

    @property
    def counts_requests(self) -> bool:
        return False

    async def start(self, *, timeout: float) -> None:
        self._forget_all()
        await asyncio.to_thread(emptied, self._repository)
        await self._launched.start(timeout=timeout)

    async def stop(self, *, grace: float) -> None:
        self._forget_all()
        await self._launched.stop(grace=grace)
        stubs.remove_left(self._segments)

    async def close(self) -> None:
        """Stop at once; its sockets go."""
        await self.stop(grace=0)
        await self._launched.close()

    async def wait_exit(self) -> int:
        try:
            return await self._launched.wait_exit()
        finally:
            self._forget_all()
            stubs.remove_left(self._segments)

    async def live(self, *, timeout: float) -> bool:
        return await self._launched.live(timeout=timeout)

    async def validate(self, model: PreparedModel) -> None:
        await looked(model.name, _FILES, lambda: config.validate(model, self._offer))
        versions = await self._other_versions(model)
        self._warn(model, [versions] if versions else [])

    async def _other_versions(self, model: PreparedModel) -> str:
        return await asyncio.to_thread(self._versions.difference, model.artifact)

    async def load(self, model: PreparedModel, *, timeout: float) -> None:
        client = self._launched.client
        name = model.name
        await self._buried(name)
        await looked(
            name,
            _FILES,
            lambda: config.publish(model, self._repository, offer=self._offer),
            longest=timeout,
        )
        callees = await asyncio.to_thread(config.published_callees, name, self._repository)
        if callees:
            await self._load_ensemble(client, model, callees, timeout)
            await self._measured.begin(name)
            return
        # From here on the end of the old ones is intended, unless the load fails.
        old = self._watch.take(name)
        try:
            await self._call_load(client, model, old, timeout)
            new = await self._find(name) - old
            if not new:
                raise ModelRejected(
                    f"Triton kept the old {name}: it saw no change in its files"
                    if old
                    else f"Triton loaded {name}, and its process died at once"
                )
        except BaseException:
            if self.pid is not None:
                # None of them: whatever Triton believes is not there is taken away.
                self._watch.add(name, old) if old else self._on_gone(name, old)
            raise
        self._watch.add(name, new)
        await self._measured.begin(name)
        await self._let_end(name, old)

    async def unload(
        self, name: str, *, timeout: float, idle: bool = False, measure: bool = False
    ) -> int | None:
        client = self._launched.client
        await self._buried(name)
        await self._measured.end(name)
        leaving = self._watch.take(name)
        halted = idle and name not in self._finalizing and await _halt(leaving, timeout)
        try:
            await client.unload(name, timeout=timeout)
        except BaseException as error:
            stubs.resume(leaving)
            if isinstance(error, ModelRejected):
                raise ServerUnreachable(f"unload of {name}: {error}") from error
            raise
        if not halted:
            reserve = min(_RESERVE_SECONDS, timeout / 2)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout - reserve):
                    await stubs.ended(leaving)
        # Halted, or with a request that does not end: that one is asked again elsewhere.
        stubs.kill(leaving)
        await stubs.ended(leaving)
        await asyncio.to_thread(self._clear_away, name, leaving)
        return None

    async def settle(self, name: str, passed: Mapping[str, int], *, timeout: float) -> None:
        """Gateways look for themselves what is in flight."""

    async def idle(self, name: str, passed: Mapping[str, int], *, timeout: float) -> bool:
        return False

    async def presence(self, name: str, *, timeout: float) -> Presence:
        return (await self.index(timeout=timeout)).get(name, Presence.ABSENT)

    async def index(self, *, timeout: float) -> Mapping[str, Presence]:
        found = await self._launched.client.index(timeout=timeout)
        return {
            name: presence
            for name, presence in found.items()
            if presence is not Presence.ABSENT and name not in self._burials
        }

    async def metadata(self, name: str, *, timeout: float) -> Mapping[str, object]:
        return await self._launched.client.metadata(name, timeout=timeout)

    async def configuration(self, name: str, *, timeout: float) -> Configuration | None:
        return await self._launched.client.configuration(name, timeout=timeout)

    async def static_metadata(self, model: PreparedModel) -> Mapping[str, object]:
        return await looked(model.name, _FILES, lambda: config.static_metadata(model, self._offer))

    async def memory(self) -> ProcessMemory:
        return await self._launched.memory()

    async def model_memory(self, name: str) -> ProcessMemory | None:
        return await asyncio.to_thread(stubs.memory, self._watch.of(name))

    async def metrics(self, *, timeout: float) -> Exposition | None:
        return await self._measured.page(timeout=timeout)

    async def wait_lost(self) -> str:
        return await self._losses.get()

    # -- a load and its stubs

    async def _load_ensemble(
        self, client: OipClient, model: PreparedModel, callees: tuple[str, ...], timeout: float
    ) -> None:
        """An ensemble has no stub. Of what it calls Triton loads anew what has changed on disk: that is no loss."""
        before = {each: self._watch.take(each) for each in callees}
        try:
            await self._call_load(client, model, frozenset(), timeout)
        finally:
            if self.pid is not None:
                for each, old in before.items():
                    found = await self._find(each)
                    self._watch.add(each, found - old or old)

    async def _call_load(
        self, client: OipClient, model: PreparedModel, old: frozenset[stubs.Stub], timeout: float
    ) -> None:
        name = model.name
        calling = asyncio.create_task(client.load(name, timeout=timeout), name=f"load {name}")
        reserve = min(_RESERVE_SECONDS, timeout / 2)
        try:
            await asyncio.wait({calling}, timeout=timeout - reserve)
            hung = not calling.done()
            if hung:
                stubs.kill(await self._find(name) - old)
            await calling
        except ModelRejected as error:
            if hung:
                told = f"its load did not end within {timeout - reserve:g} s; its process was ended"
            else:
                told = _reason(str(error))
                if versions := await self._other_versions(model):
                    told += f"; {versions}"
            raise ModelRejected(f"Triton refused {name}: {told}") from error
        finally:
            calling.cancel()
        # Before the first request.
        await asyncio.to_thread(stubs.close_to_others, self._segments)

    async def _find(self, name: str) -> frozenset[stubs.Stub]:
        pid = self.pid
        if pid is None:
            raise ServerUnreachable("Triton is not running")
        return await asyncio.to_thread(stubs.find, pid, _REPOSITORY, name)

    async def _let_end(self, name: str, old: frozenset[stubs.Stub]) -> None:
        """After a load: the memory of what it replaced comes back before anybody counts on that."""
        if await asyncio.to_thread(config.finalizes, self._repository / name):
            self._finalizing.add(name)
        else:
            self._finalizing.discard(name)
        with contextlib.suppress(TimeoutError):  # a long request: it ends by itself
            async with asyncio.timeout(_REPLACED_SECONDS):
                await stubs.ended(old)
                stubs.remove_segments(old)

    def _clear_away(self, name: str, gone: frozenset[stubs.Stub]) -> None:
        stubs.remove_segments(gone)
        config.withdraw(name, self._repository)

    # -- stubs that died

    def _on_lost(self, name: str) -> None:
        """One stub ended: whatever others the model has, it cannot be relied on."""
        gone = self._watch.take(name)
        if self.pid is None:
            return  # with the whole server
        self._on_gone(name, gone)
        self._losses.put_nowait(name)

    def _on_gone(self, name: str, gone: frozenset[stubs.Stub]) -> None:
        stubs.kill(gone)
        self._burials[name] = asyncio.create_task(self._bury(name, gone), name=f"bury {name}")

    async def _bury(self, name: str, gone: frozenset[stubs.Stub]) -> None:
        """Have Triton let go of it: requests then see a 404, and the next load is a first one."""
        try:
            await self._measured.end(name)
            await self._launched.client.unload(name, timeout=_BURIAL_SECONDS)
            await asyncio.to_thread(self._clear_away, name, gone)
        except ServerError:
            pass  # the server is dying or stuck: the next call to it will tell
        finally:
            if self._burials.get(name) is asyncio.current_task():
                del self._burials[name]

    async def _buried(self, name: str) -> None:
        burial = self._burials.get(name)
        if burial is not None:
            await asyncio.wait({burial})

    def _forget_all(self) -> None:
        self._watch.clear()
        for burial in self._burials.values():
            burial.cancel()
        self._burials.clear()
        self._finalizing.clear()
        self._measured.clear()
        while not self._losses.empty():
            self._losses.get_nowait()


async def _halt(leaving: frozenset[stubs.Stub], timeout: float) -> bool:
    halting = asyncio.create_task(
        asyncio.to_thread(
            stubs.halt, leaving, work=_HALT_WORK_SECONDS, patience=min(_HALT_SECONDS, timeout / 4)
        ),
        name="halt stubs",
    )
    try:
        return await asyncio.shield(halting)
    except asyncio.CancelledError:
        halting.add_done_callback(lambda _: stubs.resume(leaving))
        raise


def _reason(text: str) -> str:
    """Triton's words without what is the same in all of them."""
    found = _REASON.search(text)
    reason = found.group(1).strip() if found else text
    return "its process died while it loaded" if _DIED.match(reason) else reason


def _segments(config: TritonConfig) -> str:
    """The prefix of its shared memory, of this replica alone: what a killed server leaves is found by it."""
    digest = hashlib.sha256(str(config.state.absolute()).encode()).hexdigest()[:12]
    return f"overbook-{digest}-"


def _process_spec(config: TritonConfig, addresses: Addresses) -> ProcessSpec:
    return ProcessSpec(
        command=(
            *(str(config.python), "-m", "overbook_triton"),
            *("--rest", addresses.rest, "--grpc", addresses.grpc, "--metrics", addresses.metrics),
            *("--models", _REPOSITORY, "--segments", _segments(config)),
        ),
        environment=tuned(server_environment(os.environ), config.threads)
        | {"PYTHONPATH": str(config.plugin)},
        folder=config.state / "server",
        log=config.log or config.state / "server.log",
        record=config.state / "server.json",
    )
