"""A real gateway that is attacked while others use it, and what must not come of that.

The attackers hold a token for one model. Behind the gateway is an inference server that keeps what comes: a request for
another model there is one that was smuggled, however it got there.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import grpc
import httpx
import psutil

from overbook.access.tokens import digest
from overbook.gateway.oip.ports import ServerAddress
from overbook.gateway.snapshot.edge import EdgeLimits
from overbook.wire import scheduler_pb2
from tests.integration.gateway_fakes import World, running_world
from tests.integration.http1_tricks import COLD, MINE, VICTIM
from tests.integration.strict_server import StrictServer

# Of those who behave. None of the attackers is for it.
WINE: Final = "wine"
# Of an attack that is not answered: what is not whole within `REQUEST_SECONDS` is 408.
HEAD_SECONDS, REQUEST_SECONDS = 1, 2
ANSWERED_WITHIN: Final = 8.0
# Seconds in which whoever behaves is answered, beside other tests on a small machine.
OTHERS_WITHIN: Final = 5.0
# Answers have all come when so long nothing more came: a test that is too early misses nothing but statuses.
_QUIET: Final = 0.3
_AT_ONCE: Final = 60
_EVERYBODY: Final = {MINE: (MINE, COLD), WINE: (WINE,)}
_STATUS: Final = re.compile(rb"(?:^|\}|\n)HTTP/1\.[01] ([0-9]{3})[ \r]")
# By RFC 9110 that is what is said to a transfer coding, a version or an upgrade that is not known: no refusal is a
# server error otherwise.
_NOT_IMPLEMENTED: Final = {501, 505}


@dataclass(slots=True)
class Attacked:
    """``asked``: tokens are asked for. ``failed``, ``served``: what became of those who behave."""

    world: World
    server: StrictServer
    asked: bool
    failed: list[str] = field(default_factory=list)
    served: int = 0

    @property
    def port(self) -> int:
        return self.world.port

    async def behave(self) -> None:
        """Until it is cancelled: somebody who uses `WINE`, over REST and gRPC."""
        shown = "Bearer ob_wine"
        while True:
            try:
                async with asyncio.timeout(OTHERS_WITHIN):
                    said = await self.world.infer(WINE, authorization=shown)
                    if said.status_code != 200 or WINE not in said.text:
                        self.failed.append(f"{said.status_code} {said.text[:200]}")
                    await self.world.grpc_infer(WINE, metadata={"authorization": shown})
            except (TimeoutError, httpx.HTTPError, grpc.aio.AioRpcError) as error:
                self.failed.append(repr(error)[:200])
            self.served += 1
            await asyncio.sleep(0.03)

    def smuggled(self) -> list[str]:
        """What came to the inference server that must not have."""
        found = [f"ambiguous: {each}" for each in self.server.faults]
        if not self.asked:
            # Whoever asks for the other model in plain words may have it.
            return found
        for each in self.server.arrived:
            # Somebody else's server may tidy up paths, and be behind the same gateway.
            if VICTIM in each.models:
                found.append(f"for another model: {each.method} {each.target[:300]}")
        for model, count in (self.world.server.hits + self.world.server.misses).items():
            if model == VICTIM:
                found.append(f"{count} calls of gRPC for another model")
        return found


def envoy_bytes(world: World) -> int:
    """What Envoy holds in memory."""
    (envoy,) = [
        each
        for each in psutil.Process().children(recursive=True)
        if "envoy" in each.name() and str(world.folder) in " ".join(each.cmdline())
    ]
    found: int = envoy.memory_info().rss
    return found


@contextlib.asynccontextmanager
async def attacked(*, asked: bool = True) -> AsyncIterator[Attacked]:
    """While it is open, whoever behaves is served, and Envoy lives; when it closes, nothing was smuggled.

    ``asked``: tokens are asked for. Without, Envoy has other routes, and a request for `VICTIM` is like any other.
    """
    limits = EdgeLimits(head_seconds=HEAD_SECONDS, request_seconds=REQUEST_SECONDS)
    models = {name: [0] for name in (MINE, COLD, VICTIM, WINE)}
    async with StrictServer().serving() as server, running_world(models, edge=limits) as world:
        world.agent.elsewhere = ServerAddress(
            f"127.0.0.1:{server.port}", f"127.0.0.1:{world.server.grpc_port}"
        )
        world.agent.epoch += 1
        world.agent.say_address()
        world.agent.untold.add(COLD)
        # The victim is hot, too: what is smuggled needs no activation.
        await world.make_hot(MINE, VICTIM, WINE)
        key = bytes(32)
        tokens = [
            scheduler_pb2.AccessToken(
                name=name, role="infer", models=allowed, digest=digest(key, f"ob_{name}")
            )
            for name, allowed in _EVERYBODY.items()
        ]
        access = scheduler_pb2.Access(asked=asked, key=key, tokens=tokens)
        await world.scheduler.change(scheduler_pb2.CatalogueUpdate(access=access), 5)
        made = Attacked(world, server, asked)
        behaving = asyncio.create_task(made.behave(), name="whoever behaves")
        try:
            yield made
            assert not behaving.done(), behaving
            assert made.served
        finally:
            behaving.cancel()
            await asyncio.wait({behaving})
        assert not made.failed, made.failed[:5]
        assert world.gateway.envoy.restarts == 0
        assert await world.gateway.admin.is_live()
        smuggled = made.smuggled()
        assert not smuggled, "\n".join(smuggled[:20])


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of an attack: the statuses that it was answered, and whether the connection was closed in the end."""

    statuses: tuple[int, ...]
    closed: bool

    @property
    def fault(self) -> str:
        """Why that is no way to answer, "" where it is one."""
        if not (self.statuses or self.closed):
            return f"neither answered nor closed within {ANSWERED_WITHIN:g} s"
        wrong = [each for each in self.statuses if each >= 500 and each not in _NOT_IMPLEMENTED]
        return f"answered {wrong}" if wrong else ""


async def sent(port: int, attack: bytes) -> Outcome:
    """What is said to these bytes over HTTP/1.1."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said, closed = bytearray(), False
    until = time.monotonic() + ANSWERED_WITHIN
    try:
        writer.write(attack)
        while time.monotonic() < until:
            pause = _QUIET if _STATUS.search(said) else until - time.monotonic()
            async with asyncio.timeout(pause):
                piece = await reader.read(65_536)
            if not piece:
                closed = True
                break
            said += piece
    except TimeoutError:
        pass
    except ConnectionError:
        closed = True
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return Outcome(tuple(int(each) for each in _STATUS.findall(said)), closed)


async def each_of(
    attacks: Iterable[tuple[str, bytes]], send: Callable[[bytes], Awaitable[Outcome]]
) -> Mapping[str, Outcome]:
    """What came of each, some of them at once."""
    found: dict[str, Outcome] = {}
    waiting = iter(attacks)

    async def attack() -> None:
        for name, content in waiting:
            found[name] = await send(content)

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(attack())
    return found


def faults(found: Mapping[str, Outcome]) -> Mapping[str, str]:
    """Those that were not answered as they should."""
    return {name: outcome.fault for name, outcome in found.items() if outcome.fault}
