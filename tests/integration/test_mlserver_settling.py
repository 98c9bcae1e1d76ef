"""MLServer says when nothing of a model is in flight at its endpoint for gateways. One real server for the file."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from overbook.agent.servers.mlserver.server import MlserverServer
from overbook.agent.servers.protocol import PreparedModel, ServerUnreachable
from overbook.wire import oip_pb2
from tests.integration import mlserver_harness, own_doors

pytestmark = pytest.mark.asyncio(loop_scope="module")
CALL = 30.0
# What has not come after so long is taken not to come.
_SOON = 0.15

_GATED = """
import asyncio
import os
import mlserver
from mlserver.codecs import StringCodec
from mlserver.types import InferenceResponse

async def opened():
    while not os.path.exists("{gate}"):
        await asyncio.sleep(0.005)

class Model(mlserver.MLModel):
    def _answer(self):
        return InferenceResponse(
            model_name=self.name, outputs=[StringCodec.encode_output("text", ["done"])]
        )

    async def predict(self, payload):
        await opened()
        return self._answer()

    async def predict_stream(self, payloads):
        async for payload in payloads:
            yield self._answer()
            await opened()
            yield self._answer()
"""


@dataclass
class Gated:
    """A server with the model "a", whose predictions wait while the gate is shut."""

    server: MlserverServer
    gate: Path

    def open(self) -> None:
        self.gate.touch()

    def settle(self, **passed: int) -> asyncio.Task[None]:
        return asyncio.create_task(self.server.settle("a", passed, timeout=CALL))

    def idle(self, timeout: float = CALL, **passed: int) -> asyncio.Task[bool]:
        return asyncio.create_task(self.server.idle("a", passed, timeout=timeout))

    async def send(self, raw: bytes) -> asyncio.StreamWriter:
        """Over a connection of its own, and heard by the server."""
        _, writer = await own_doors.connected(self.server.addresses.infer)
        writer.write(raw)
        await writer.drain()
        # Another one is answered when this has been read.
        await self.server.settle("other", {}, timeout=CALL)
        await self.server.settle("other", {}, timeout=CALL)
        return writer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gated]:
    folder = tmp_path_factory.mktemp("server")
    server, model = mlserver_harness.server(folder / "state"), folder / "a"
    await server.start(timeout=60)
    model.mkdir()
    (model / "model.py").write_text(_GATED.format(gate=folder / "gate"))
    settings = {"implementation": "model.Model", "versions": ["1"]}
    (model / "model-settings.json").write_text(json.dumps(settings))
    await server.load(PreparedModel("a", 1, model), timeout=CALL)
    yield Gated(server, folder / "gate")
    await server.close()


@pytest.fixture
def gated(running: Gated) -> Gated:
    running.gate.unlink(missing_ok=True)
    return running


async def _waits(settling: asyncio.Task[None] | asyncio.Task[bool]) -> None:
    await asyncio.wait([settling], timeout=_SOON)
    assert not settling.done()


_BODY = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}]})


def _post(path: str = "/v2/models/a/infer", body: bytes = _BODY.encode(), *lines: str) -> bytes:
    head = [
        f"POST {path} HTTP/1.1",
        "host: x",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def _message() -> bytes:
    message = oip_pb2.ModelInferRequest(model_name="a")
    message.inputs.add(name="x", datatype="INT64", shape=[1]).contents.int64_contents.append(1)
    raw = message.SerializeToString()
    frame = b"\0" + len(raw).to_bytes(4, "big") + raw
    head = (
        f"POST /inference.GRPCInferenceService/ModelInfer HTTP/1.1\r\nhost: x\r\n"
        f"content-type: application/grpc\r\ncontent-length: {len(frame)}\r\nx-overbook-model: a\r\n\r\n"
    )
    return head.encode() + frame


_WITH_A_GRANT = _post("/v2/models/a/infer", _BODY.encode(), "x-overbook-grant: gw")
WAYS: dict[str, Callable[[], bytes]] = {
    "REST": _post,
    "a version": lambda: _post("/v2/models/a/versions/1/infer"),
    "escapes": lambda: _post("/v2/models/%61/infer"),
    "a query": lambda: _post("/v2/models/a/infer?x=1"),
    "a stream of events": lambda: _post("/v2/models/a/infer_stream"),
    "left to MLServer's application": lambda: _post(
        "/v2/models/a/infer", _BODY.encode(), "expect: 100-continue"
    ),
    "gRPC": _message,
}


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_answered_is_waited_for(gated: Gated, way: str) -> None:
    writer = await gated.send(WAYS[way]())
    settling = gated.settle()
    await _waits(settling)
    gated.open()
    await asyncio.wait_for(settling, CALL)
    writer.close()


@pytest.mark.parametrize("way", ["REST", "a stream of events", "gRPC"])
async def test_what_is_still_being_sent_is_waited_for(gated: Gated, way: str) -> None:
    gated.open()
    whole = WAYS[way]()
    writer = await gated.send(whole[:-3])
    settling = gated.settle()
    await _waits(settling)
    writer.write(whole[-3:])
    await asyncio.wait_for(settling, CALL)
    writer.close()


@pytest.mark.parametrize("way", WAYS)
async def test_whoever_breaks_off_while_sending_is_not_waited_for(gated: Gated, way: str) -> None:
    gated.open()
    writer = await gated.send(WAYS[way]()[:-3])
    settling = gated.settle()
    await _waits(settling)
    writer.close()
    await asyncio.wait_for(settling, CALL)


async def test_a_prediction_whose_client_has_gone_is_waited_for(gated: Gated) -> None:
    """Over REST MLServer goes on with it, and so the model is in use."""
    (await gated.send(_post())).close()
    settling = gated.settle()
    await _waits(settling)
    gated.open()
    await asyncio.wait_for(settling, CALL)


async def test_pipelined_requests_are_waited_for_and_go_with_their_connection(
    gated: Gated,
) -> None:
    writer = await gated.send(_post() * 2 + _post()[:-3])
    settling = gated.settle()
    await _waits(settling)
    writer.close()
    await _waits(settling)
    gated.open()
    await asyncio.wait_for(settling, CALL)


async def test_a_request_counts_as_arrived_when_its_head_has(gated: Gated) -> None:
    settling = gated.settle(gw=1)
    await _waits(settling)
    writer = await gated.send(_WITH_A_GRANT[:-3])
    await _waits(settling)
    writer.close()
    async with asyncio.timeout(0.5):
        await settling
    # It is remembered: the next has yet to come.
    settling = gated.settle(gw=2)
    await _waits(settling)
    gated.open()
    writer = await gated.send(_WITH_A_GRANT)
    async with asyncio.timeout(0.5):
        await settling
    writer.close()


async def test_what_never_arrives_is_waited_for_a_second(gated: Gated) -> None:
    settling = gated.settle(never=1)
    await asyncio.wait([settling], timeout=0.8)
    assert not settling.done()
    await asyncio.wait_for(settling, 1.0)


async def test_answers_of_other_models_are_nothing_to_it(gated: Gated) -> None:
    writer = await gated.send(_post())
    await asyncio.wait_for(gated.server.settle("b", {}, timeout=CALL), CALL)
    gated.open()
    writer.close()


async def test_who_waits_and_goes_leaves_nothing_behind(gated: Gated) -> None:
    writer = await gated.send(_post())
    for _ in range(3):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(gated.settle(), 0.05)
    gated.open()
    await asyncio.wait_for(gated.settle(), CALL)
    writer.close()


@pytest.mark.parametrize("way", WAYS)
async def test_a_model_in_use_is_idle_when_its_answer_is_done(gated: Gated, way: str) -> None:
    writer = await gated.send(WAYS[way]())
    assert not await gated.idle(timeout=0.05)
    looking = gated.idle()
    await _waits(looking)
    gated.open()
    assert await asyncio.wait_for(looking, CALL)
    writer.close()


async def test_it_is_not_idle_while_a_stream_over_grpc_is_open(gated: Gated) -> None:
    """Which comes to MLServer's own port."""
    message = oip_pb2.ModelInferRequest(model_name="a")
    message.inputs.add(name="x", datatype="INT64", shape=[1]).contents.int64_contents.append(1)
    async with grpc.aio.insecure_channel(gated.server.addresses.grpc) as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer"
        )()
        await call.write(message.SerializeToString())
        assert isinstance(await call.read(), bytes), "the first of two answers"
        looking, settling = gated.idle(), gated.settle()
        await _waits(looking)
        await _waits(settling)
        gated.open()
        await call.done_writing()
        async with asyncio.timeout(CALL):
            assert isinstance(await call.read(), bytes), "the second"
            assert await looking
            await settling


_CHUNK = oip_pb2.ModelInferRequest(model_name="a", raw_input_contents=[bytes(1_000_000)])
_CHUNK.inputs.add(name="x", datatype="UINT8", shape=[1_000_000])


async def test_what_a_stream_holds_is_not_taken_for_lost(gated: Gated) -> None:
    async with grpc.aio.insecure_channel(gated.server.addresses.grpc) as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer"
        )()
        await call.write(_CHUNK.SerializeToString())
        assert isinstance(await call.read(), bytes), "the first of two answers"
        assert await gated.server.borrowed() >= 1_000_000
        gated.open()
        await call.done_writing()
        async with asyncio.timeout(CALL):
            assert isinstance(await call.read(), bytes), "the second"
            assert await call.read() is grpc.aio.EOF
            assert await gated.server.borrowed() == 0


async def test_of_a_stream_that_nobody_reads_little_is_taken_in(gated: Gated) -> None:
    async with grpc.aio.insecure_channel(gated.server.addresses.grpc) as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer"
        )()
        written = 0
        with contextlib.suppress(TimeoutError):
            while written < 100:
                async with asyncio.timeout(0.5):
                    await call.write(_CHUNK.SerializeToString())
                written += 1
        assert written <= 3, "the model has the first one, and wants no other"
        call.cancel()
        assert await asyncio.wait_for(gated.idle(), CALL)


async def test_nor_when_the_client_of_a_stream_is_gone_does_it_stay_in_use(gated: Gated) -> None:
    message = oip_pb2.ModelInferRequest(model_name="a")
    message.inputs.add(name="x", datatype="INT64", shape=[1]).contents.int64_contents.append(1)
    async with grpc.aio.insecure_channel(gated.server.addresses.grpc) as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer"
        )()
        await call.write(message.SerializeToString())
        assert isinstance(await call.read(), bytes)
        call.cancel()
        assert await asyncio.wait_for(gated.idle(), CALL)


async def test_looking_forgives_nothing(gated: Gated) -> None:
    for _ in range(2):
        assert not await gated.idle(timeout=0.05, another=1)
    await gated.settle(another=1)
    assert await gated.idle(timeout=0.05, another=1)


@pytest.mark.parametrize("what", ["settle", "idle"])
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"passed": {"gw": "x"}, "seconds": 1}', b'{"passed": {}}']
)
async def test_a_call_that_makes_no_sense_is_refused(gated: Gated, what: str, body: bytes) -> None:
    async with own_doors.http_client(gated.server.addresses.infer) as client:
        reply = await client.post(f"/v2/repository/models/a/{what}", content=body)
    assert reply.status_code == 400
    assert "passed" in reply.json()["error"]


async def test_a_server_that_is_gone_is_unreachable(tmp_path: Path) -> None:
    server = mlserver_harness.server(tmp_path / "state")
    with pytest.raises(ServerUnreachable):
        await server.settle("a", {}, timeout=CALL)
    with pytest.raises(ServerUnreachable):
        await server.idle("a", {}, timeout=CALL)
    await server.close()
