"""Calls between parts behave the same in one process as over a socket, as far as the parts rely on it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from overbook.tls.following import FollowedPair
from overbook.wire import agent_pb2 as pb
from overbook.wire import agent_pb2_grpc
from overbook.wire.in_process import ListenFailed, connect, serving
from overbook.wire.peers import Peers
from tests.e2e.process import free_ports
from tests.unit.tls.certificates import peer_files

SECONDS = 10.0


class Scripted:
    """An AgentService that answers as the test says. ``ended``: how the latest call of `Follow` or `Activate` ended."""

    def __init__(self) -> None:
        self.activate: Callable[[pb.ActivateRequest, Any], Awaitable[pb.ActivateReply]] = _resident
        self.follow: Callable[[Any], Awaitable[None]] = _echo
        self.began = asyncio.Event()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def Activate(  # noqa: N802
        self, request: pb.ActivateRequest, context: Any
    ) -> pb.ActivateReply:
        with self._watched():
            return await self.activate(request, context)

    async def Evict(self, request: pb.EvictRequest, context: Any) -> pb.EvictReply:  # noqa: N802
        return pb.EvictReply()

    async def Metadata(self, request: pb.MetadataRequest, context: Any) -> pb.MetadataReply:  # noqa: N802
        return pb.MetadataReply()

    async def Configuration(  # noqa: N802
        self, request: pb.ConfigurationRequest, context: Any
    ) -> pb.ConfigurationReply:
        return pb.ConfigurationReply()

    async def Follow(self, request_iterator: object, context: Any) -> None:  # noqa: N802
        with self._watched():
            await self.follow(context)

    @contextlib.contextmanager
    def _watched(self) -> Any:
        self.began.set()
        how = "returned"
        try:
            yield
        except asyncio.CancelledError:
            how = "cancelled"
            raise
        except Exception:
            how = "raised"
            raise
        finally:
            if not self.ended.done():
                self.ended.set_result(how)


async def _resident(request: pb.ActivateRequest, context: Any) -> pb.ActivateReply:
    return pb.ActivateReply(outcome=pb.ActivateReply.RESIDENT, reason=request.model)


async def _for_ever(*_: object) -> Any:
    await asyncio.get_running_loop().create_future()


async def _echo(context: Any) -> None:
    while isinstance(message := await context.read(), pb.GatewayToAgent):
        await context.write(_hot(message.hello.gateway))


def _hello(name: str) -> pb.GatewayToAgent:
    return pb.GatewayToAgent(hello=pb.GatewayHello(gateway=name))


def _hot(name: str) -> pb.AgentToGateway:
    return pb.AgentToGateway(hot=pb.HotUpdate(models=[name]))


def _registering(service: Scripted) -> Callable[[Any], None]:
    # Its handlers write through their context, as the parts' own do; the generated type wants generators.
    return partial(agent_pb2_grpc.add_AgentServiceServicer_to_server, cast(Any, service))


class Parts:
    """One that serves and one that calls, in this process or as if in two. ``followed``: they show certificates."""

    def __init__(self, listen: str, target: str, followed: FollowedPair | None) -> None:
        self.service = Scripted()
        self._listen = listen
        self.followed = followed
        self._peers = None if followed is None else Peers(followed)
        self._serving = contextlib.AsyncExitStack()
        self._channel = connect(target, self._peers)
        self.stub: Any = agent_pb2_grpc.AgentServiceStub(self._channel)

    async def start(self) -> None:
        register = _registering(self.service)
        await self._serving.enter_async_context(
            serving(self._listen, register, grace=0.0, peers=self._peers)
        )

    async def stop(self) -> None:
        await self._serving.aclose()

    async def close(self) -> None:
        await self._channel.close()
        await self.stop()


def _parts(folder: Path, way: str) -> Parts:
    socket = f"unix:{folder}/part.sock"
    if way == "in one process":
        return Parts(socket, socket, None)
    if way == "over a socket":
        # The same socket by another name is not known to be in this process.
        return Parts(socket, f"unix:{folder}/./part.sock", None)
    [port] = free_ports(1)
    return Parts(
        f"127.0.0.1:{port}",
        f"localhost:{port}",
        FollowedPair(peer_files(folder), time.time),
    )


@pytest.fixture(params=["in one process", "over a socket", "over a port with TLS"])
async def parts(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Parts]:
    made = _parts(tmp_path, request.param)
    await made.start()
    try:
        async with asyncio.timeout(SECONDS):
            yield made
    finally:
        await made.close()


async def test_an_answer(parts: Parts) -> None:
    reply = await parts.stub.Activate(pb.ActivateRequest(model="a"), timeout=SECONDS)
    assert (reply.outcome, reply.reason) == (pb.ActivateReply.RESIDENT, "a")


async def test_a_refusal_has_its_code_and_its_words(parts: Parts) -> None:
    async def refuse(request: pb.ActivateRequest, context: Any) -> pb.ActivateReply:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such thing")
        raise AssertionError

    parts.service.activate = refuse
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await parts.stub.Activate(pb.ActivateRequest(), timeout=SECONDS)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "no such thing"


async def test_a_fault_of_the_service_is_told(parts: Parts) -> None:
    async def fail(request: pb.ActivateRequest, context: Any) -> pb.ActivateReply:
        raise ValueError("seven")

    parts.service.activate = fail
    with pytest.raises(grpc.aio.AioRpcError, match="seven") as caught:
        await parts.stub.Activate(pb.ActivateRequest(), timeout=SECONDS)
    assert caught.value.code() is grpc.StatusCode.UNKNOWN


async def test_a_deadline_ends_the_call_on_both_sides(parts: Parts) -> None:
    parts.service.activate = _for_ever
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await parts.stub.Activate(pb.ActivateRequest(), timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await parts.service.ended == "cancelled"


async def test_who_gives_up_cancels_the_work(parts: Parts) -> None:
    parts.service.activate = _for_ever
    calling = asyncio.ensure_future(parts.stub.Activate(pb.ActivateRequest(), timeout=SECONDS))
    await parts.service.began.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert await parts.service.ended == "cancelled"


async def test_a_stream_of_both_sides_in_order(parts: Parts) -> None:
    async def requests() -> AsyncIterator[pb.GatewayToAgent]:
        for number in range(300):
            yield _hello(str(number))

    heard = [message.hot.models[0] async for message in parts.stub.Follow(requests())]
    assert heard == [str(number) for number in range(300)]
    assert await parts.service.ended == "returned"


async def test_a_stream_by_reading_and_writing(parts: Parts) -> None:
    stream = parts.stub.Follow()
    await stream.write(_hello("a"))
    assert (await stream.read()).hot.models == ["a"]
    stream.cancel()
    # gRPC lets a service that waits for a message see the end of them, or cancels it.
    assert await parts.service.ended in ("cancelled", "returned")


async def test_what_was_said_before_the_end_is_heard(parts: Parts) -> None:
    async def say(context: Any) -> None:
        for name in ("a", "b"):
            await context.write(_hot(name))

    parts.service.follow = say
    stream = parts.stub.Follow()
    assert [(await stream.read()).hot.models for _ in range(2)] == [["a"], ["b"]]
    assert await stream.read() is grpc.aio.EOF


async def test_a_stream_that_is_refused(parts: Parts) -> None:
    async def refuse(context: Any) -> None:
        await context.read()
        await context.abort(grpc.StatusCode.ABORTED, "a newer one took over")

    parts.service.follow = refuse
    stream = parts.stub.Follow()
    await stream.write(_hello("a"))
    with pytest.raises(grpc.aio.AioRpcError, match="newer one") as caught:
        await stream.read()
    assert caught.value.code() is grpc.StatusCode.ABORTED


async def test_writing_to_a_stream_that_has_ended(parts: Parts) -> None:
    async def leave(context: Any) -> None:
        return

    parts.service.follow = leave
    stream = parts.stub.Follow()
    assert await stream.read() is grpc.aio.EOF
    with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError)):
        await stream.write(_hello("a"))


async def test_the_end_of_the_server_ends_its_streams(parts: Parts) -> None:
    parts.service.follow = _for_ever
    stream = parts.stub.Follow()
    await parts.service.began.wait()
    await parts.stop()
    with pytest.raises(grpc.aio.AioRpcError):
        await stream.read()
    assert await parts.service.ended == "cancelled"


async def test_a_server_that_comes_back_is_found(parts: Parts) -> None:
    await parts.stop()
    with pytest.raises(grpc.aio.AioRpcError):
        await parts.stub.Activate(pb.ActivateRequest(model="a"), timeout=1.0)
    await parts.start()
    while True:
        with contextlib.suppress(grpc.aio.AioRpcError):
            reply = await parts.stub.Activate(pb.ActivateRequest(model="b"), timeout=1.0)
            break
    assert reply.reason == "b"


async def test_a_stream_lasts_while_certificates_are_renewed(tmp_path: Path) -> None:
    parts = _parts(tmp_path, "over a port with TLS")
    await parts.start()
    try:
        async with asyncio.timeout(SECONDS):
            stream = parts.stub.Follow()
            for number in range(5):
                hello = pb.GatewayHello(gateway=f"g{number}")
                await stream.write(pb.GatewayToAgent(hello=hello))
                assert (await stream.read()).hot.models == [f"g{number}"]
                # Of another authority each time, which the stream has not heard of.
                peer_files(tmp_path)
                assert parts.followed is not None
                assert parts.followed.look()
                reply = await parts.stub.Activate(pb.ActivateRequest(model="a"), timeout=SECONDS)
                assert reply.reason == "a"
    finally:
        await parts.close()


async def test_who_reads_slowly_is_not_drowned(tmp_path: Path) -> None:
    parts, written = _parts(tmp_path, "in one process"), 0

    async def flood(context: Any) -> None:
        nonlocal written
        while True:
            await context.write(_hot("a"))
            written += 1

    parts.service.follow = flood
    await parts.start()
    try:
        stream = parts.stub.Follow()
        for _ in range(3):
            await stream.read()
        for _ in range(1000):
            await asyncio.sleep(0)
        assert 3 < written < 100
    finally:
        await parts.close()


async def test_an_address_that_cannot_be_listened_on(tmp_path: Path) -> None:
    register = _registering(Scripted())
    with pytest.raises(ListenFailed):
        async with serving(f"unix:{tmp_path}/no/such/folder.sock", register, grace=0.0, peers=None):
            raise AssertionError
