"""Streams through the relay behave as if it were not there, but for the refusals that are its job."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.grpc import service_pb2

from overbook.gateway.oip import relay
from overbook.gateway.oip.methods import STREAM_METHOD
from overbook.wire import oip_pb2 as pb
from tests.integration.oip_harness import OPTIONS, Context, Running, running
from tests.unit.gateway.oip.catalogue import example

StreamAnswer = Any
Stream = grpc.aio.StreamStreamMultiCallable[bytes, bytes]


def message(model: str = "iris", *, id_: str = "", payload: bytes = b"") -> bytes:
    request = pb.ModelInferRequest(model_name=model, id=id_, raw_input_contents=[payload])
    return request.SerializeToString()


async def echo(context: Context) -> None:
    while isinstance(received := await context.read(), bytes):
        await context.write(received)


async def echo_two_and_wait(context: Context) -> None:
    # gRPC tells a handler that reads of a cancellation by the end of its messages, one that waits by
    # cancelling it; the second is unmistakable.
    for _ in range(2):
        await context.write(await context.read())
    await asyncio.Event().wait()


@pytest.fixture
async def oip() -> AsyncIterator[Running]:
    async with running(example(), first_message_seconds=0.3) as oip:
        yield oip


@pytest.fixture
async def stream(oip: Running) -> AsyncIterator[Stream]:
    async with grpc.aio.insecure_channel(oip.grpc_target, options=OPTIONS) as channel:
        yield channel.stream_stream(STREAM_METHOD)


async def test_each_answer_comes_before_the_next_question(oip: Running, stream: Stream) -> None:
    oip.upstream.script = echo
    call = stream(timeout=10)
    for number in range(5):
        await call.write(message(id_=str(number)))
        assert await call.read() == message(id_=str(number))
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_the_server_learns_the_model_and_the_clients_metadata(
    oip: Running, stream: Stream
) -> None:
    oip.upstream.script = echo
    sent = (
        ("x-request-id", "r1"),
        ("trace-bin", b"\x00\xff"),
        ("seldon-model", "iris"),
        ("x-overbook-model", "wine"),
        ("x-envoy-upstream-alt", "lie"),
    )
    call = stream(timeout=10, metadata=sent)
    await call.write(message())
    await call.read()
    await call.done_writing()
    await call.code()
    got = oip.upstream.metadata
    assert [value for key, value in got if key == "x-overbook-model"] == ["iris"]
    assert ("x-request-id", "r1") in got
    assert ("trace-bin", b"\x00\xff") in got
    assert not [key for key, _ in got if key.startswith("x-envoy-")]
    assert oip.upstream.deadline is not None
    assert 5 < oip.upstream.deadline <= 10


async def test_a_stream_without_deadline_gets_none(oip: Running, stream: Stream) -> None:
    oip.upstream.script = echo
    call = stream()
    await call.write(message())
    await call.read()
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK
    assert oip.upstream.deadline is None


async def test_status_details_and_both_kinds_of_metadata_come_back(
    oip: Running, stream: Stream
) -> None:
    async def fail(context: Context) -> None:
        await context.send_initial_metadata((("x-first", "1"),))
        await context.write(message(id_="only"))
        await context.abort(
            grpc.StatusCode.RESOURCE_EXHAUSTED, "no room: ünable", (("x-last", "2"),)
        )

    oip.upstream.script = fail
    call = stream(timeout=10)
    await call.write(message())
    assert ("x-first", "1") in tuple(await call.initial_metadata())
    assert await call.read() == message(id_="only")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details() == "no room: ünable"
    assert ("x-last", "2") in tuple(caught.value.trailing_metadata())


async def test_initial_metadata_is_not_held_back_until_a_message(
    oip: Running, stream: Stream
) -> None:
    go = asyncio.Event()

    async def early(context: Context) -> None:
        await context.send_initial_metadata((("x-first", "1"),))
        await go.wait()

    oip.upstream.script = early
    call = stream(timeout=10)
    await call.write(message())
    assert ("x-first", "1") in tuple(await call.initial_metadata())
    go.set()
    assert await call.code() is grpc.StatusCode.OK


async def test_half_close_reaches_the_server_and_it_may_answer_after(
    oip: Running, stream: Stream
) -> None:
    async def count(context: Context) -> None:
        seen = 0
        while isinstance(await context.read(), bytes):
            seen += 1
        await context.write(str(seen).encode())

    oip.upstream.script = count
    call = stream(timeout=10)
    for _ in range(3):
        await call.write(message())
    await call.done_writing()
    assert await call.read() == b"3"
    assert await call.code() is grpc.StatusCode.OK


async def test_a_server_that_ends_early_ends_the_stream(oip: Running, stream: Stream) -> None:
    async def one(context: Context) -> None:
        await context.write(await context.read())

    oip.upstream.script = one
    call = stream(timeout=10)
    await call.write(message())
    assert await call.read() == message()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_cancellation_reaches_the_server(oip: Running, stream: Stream) -> None:
    oip.upstream.script = echo_two_and_wait
    call = stream(timeout=10)
    for _ in range(2):
        await call.write(message())
        await call.read()
    call.cancel()
    async with asyncio.timeout(5):
        await oip.upstream.cancelled.wait()


async def test_the_deadline_ends_a_silent_server(oip: Running, stream: Stream) -> None:
    async def silent(context: Context) -> None:
        await asyncio.Event().wait()

    oip.upstream.script = silent
    call = stream(timeout=0.5)
    await call.write(message())
    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(5):
        await oip.upstream.cancelled.wait()


async def test_a_client_that_does_not_read_stops_the_server(oip: Running, stream: Stream) -> None:
    written = 0
    stuck = asyncio.Event()

    async def flood(context: Context) -> None:
        nonlocal written
        await context.read()
        chunk = b"x" * 1_000_000
        for _ in range(200):
            try:
                async with asyncio.timeout(0.5):
                    await context.write(chunk)
            except TimeoutError:
                stuck.set()
                raise
            written += 1

    oip.upstream.script = flood
    call = stream(timeout=20)
    await call.write(message())
    async with asyncio.timeout(15):
        await stuck.wait()
    call.cancel()
    assert written < 60


async def test_large_messages_pass_both_ways(oip: Running, stream: Stream) -> None:
    oip.upstream.script = echo
    large = message(payload=b"\x01" * (64 * 1024 * 1024))
    call = stream(timeout=30)
    await call.write(large)
    assert await call.read() == large
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("first", "metadata", "code", "says"),
    [
        (
            message("nobody"),
            (("seldon-model", "nobody"),),
            grpc.StatusCode.NOT_FOUND,
            "'nobody' is not registered",
        ),
        (
            message(""),
            (("seldon-model", "iris"),),
            grpc.StatusCode.INVALID_ARGUMENT,
            "model_name: empty",
        ),
        (b"\x0a\x7f", (), grpc.StatusCode.INVALID_ARGUMENT, "not a ModelInferRequest"),
        (
            message("iris"),
            (("seldon-model", "wine"),),
            grpc.StatusCode.INVALID_ARGUMENT,
            "header names wine, the message names iris",
        ),
    ],
)
async def test_refusals_never_reach_a_server(
    oip: Running,
    stream: Stream,
    first: bytes,
    metadata: tuple[tuple[str, str], ...],
    code: grpc.StatusCode,
    says: str,
) -> None:
    call = stream(timeout=10, metadata=metadata)
    await call.write(first)
    assert await call.code() is code
    assert says in (await call.details() or "")
    assert not oip.upstream.started.is_set()


async def test_a_stream_that_is_addressed_is_of_one_model(oip: Running, stream: Stream) -> None:
    oip.upstream.script = echo_two_and_wait
    call = stream(timeout=10, metadata=(("seldon-model", "iris"),))
    await call.write(message("iris"))
    await call.read()
    await call.write(message(""))
    assert await call.read() == message("")
    await call.write(message("wine"))
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "names model wine in a stream of model iris" in (await call.details() or "")
    async with asyncio.timeout(5):
        await oip.upstream.cancelled.wait()


def told(raw: object) -> StreamAnswer:
    assert isinstance(raw, bytes)
    return service_pb2.ModelStreamInferResponse.FromString(raw)


def model(context: Context) -> str | bytes:
    """Whose part of a stream this is."""
    return dict(context.invocation_metadata() or ())["x-overbook-model"]


async def test_models_of_one_stream_do_not_wait_for_each_other(
    oip: Running, stream: Stream
) -> None:
    """Each has a part of its own; without a name a message is for the model of the one before."""
    go = asyncio.Event()

    async def script(context: Context) -> None:
        if model(context) == "iris":
            await context.read()
            await go.wait()
            await context.write(b"late")
        await echo(context)

    oip.upstream.script = script
    call = stream(timeout=10)
    for sent in (message("iris"), message("wine"), message("", id_="2")):
        await call.write(sent)
    assert [await call.read(), await call.read()] == [message("wine"), message("", id_="2")]
    go.set()
    assert await call.read() == b"late"
    await call.write(message("iris", id_="3"))
    assert await call.read() == message("iris", id_="3")
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_model_that_cannot_be_asked_is_an_error_in_the_stream(
    oip: Running, stream: Stream
) -> None:
    """As Triton tells it: whatever else the stream asks is answered."""

    async def script(context: Context) -> None:
        if model(context) == "wine":
            await context.read()
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no room")
        await echo(context)

    oip.upstream.script = script
    call = stream(timeout=10)
    await call.write(message("nobody", id_="1"))
    unknown = told(await call.read())
    assert "'nobody' is not registered" in unknown.error_message
    assert unknown.infer_response.id == "1"
    await call.write(message("wine"))
    refused = told(await call.read())
    assert (refused.error_message, refused.HasField("infer_response")) == ("no room", True)
    await call.write(message("iris"))
    assert await call.read() == message("iris")
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK


async def test_an_error_of_one_request_among_several_models_has_its_id(
    oip: Running, stream: Stream
) -> None:
    held = asyncio.Event()

    async def script(context: Context) -> None:
        if model(context) == "wine":
            for _ in range(3):
                await context.read()
            await held.wait()
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no room")
        await echo(context)

    oip.upstream.script = script
    call = stream(timeout=10)
    for sent in (message("wine", id_="1"), message("wine", id_="2"), message("wine")):
        await call.write(sent)
    await call.write(message("iris", id_="3"))
    assert await call.read() == message("iris", id_="3")
    held.set()
    answers = [told(await call.read()) for _ in range(3)]
    assert [each.infer_response.id for each in answers] == ["1", "2", ""]
    assert {each.error_message for each in answers} == {"no room"}
    call.cancel()


@pytest.fixture
async def stopping(
    oip: Running, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[], None]]:
    """Begins the stop of a gateway."""
    monkeypatch.setattr(relay, "SILENT_SECONDS", 0.1)
    tasks: list[asyncio.Task[None]] = []
    yield lambda: tasks.append(asyncio.create_task(oip.oip.end_quiet_streams()))
    for task in tasks:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


async def _is_told_of_the_stop(call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    assert await call.details() == "the gateway is stopping; open the stream again"


@pytest.mark.parametrize("names", [["iris"], ["iris", "wine"], []])
async def test_a_stop_ends_streams_in_which_nothing_goes_on(
    oip: Running, stream: Stream, stopping: Callable[[], None], names: list[str]
) -> None:
    oip.upstream.script = echo
    call = stream(timeout=10)
    for name in names:
        await call.write(message(name))
        assert await call.read() == message(name)
    stopping()
    await _is_told_of_the_stop(call)
    assert not oip.upstream.cancelled.is_set(), "the server ended it by itself"


async def test_a_stop_leaves_time_to_what_is_not_answered_yet(
    oip: Running, stream: Stream, stopping: Callable[[], None]
) -> None:
    closed, go = asyncio.Event(), asyncio.Event()
    heard = asyncio.Semaphore(0)

    async def script(context: Context) -> None:
        asked = await context.read()
        heard.release()
        assert not isinstance(await context.read(), bytes)
        closed.set()
        await go.wait()
        await context.write(asked)

    oip.upstream.script = script
    call, ended = stream(timeout=10), stream(timeout=10)
    for each in (call, ended):
        await each.write(message(id_="1"))
    await ended.done_writing()
    # What the model has not heard yet may as well be sent again.
    for _ in (call, ended):
        await heard.acquire()
    stopping()
    await closed.wait()
    go.set()
    for each in (call, ended):
        assert await each.read() == message(id_="1")
    await _is_told_of_the_stop(call)
    assert await ended.code() is grpc.StatusCode.OK, "it had nothing more to ask"


async def test_the_end_of_the_grace_ends_all_streams(oip: Running, stream: Stream) -> None:
    oip.upstream.script = echo_two_and_wait
    call = stream(timeout=10)
    for _ in range(2):
        await call.write(message())
        await call.read()
    oip.oip.end_streams("Overbook is stopping")
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    assert await call.details() == "Overbook is stopping"
    async with asyncio.timeout(5):
        await oip.upstream.cancelled.wait()


async def test_what_breaks_off_among_several_models_ends_the_stream(
    oip: Running, stream: Stream
) -> None:
    """Nobody can tell which of the requests for it would still have been answered."""

    async def script(context: Context) -> None:
        await context.write(await context.read())
        if isinstance(await context.read(), bytes):
            await context.abort(grpc.StatusCode.INTERNAL, "broken")

    oip.upstream.script = script
    call = stream(timeout=10)
    for name in ("iris", "wine"):
        await call.write(message(name))
        await call.read()
    await call.write(message("iris"))
    assert (await call.code(), await call.details()) == (grpc.StatusCode.INTERNAL, "broken")


async def test_a_silent_model_of_several_is_let_go(
    oip: Running, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "SILENT_SECONDS", 0.1)
    ended = asyncio.Event()

    async def script(context: Context) -> None:
        await echo(context)
        if model(context) == "iris":
            ended.set()

    oip.upstream.script = script
    call = stream(timeout=10)
    for name in ("iris", "wine"):
        await call.write(message(name))
        await call.read()
    async with asyncio.timeout(5):
        await ended.wait()
    # Its next message opens a part anew.
    await call.write(message("iris", id_="2"))
    assert await call.read() == message("iris", id_="2")
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("addressed", [False, True])
async def test_answers_of_mlserver_come_in_the_form_that_the_client_knows(
    oip: Running, stream: Stream, addressed: bool
) -> None:
    oip.catalogue.kind_of["iris"] = "mlserver"
    answers = [
        pb.ModelInferResponse(model_name="iris", raw_output_contents=[b"\xff" * size])
        for size in (0, 100, 127, 128, 100_000)
    ]

    async def script(context: Context) -> None:
        await context.read()
        for answer in answers:
            await context.write(answer.SerializeToString())

    oip.upstream.script = script
    call = stream(timeout=10, metadata=(("seldon-model", "iris"),) if addressed else ())
    await call.write(message())
    for answer in answers:
        raw = await call.read()
        got = raw if addressed else told(raw).infer_response.SerializeToString()
        assert got == answer.SerializeToString()
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK


async def test_an_empty_stream_ends_well_and_a_mute_one_is_ended(
    oip: Running, stream: Stream
) -> None:
    empty = stream(timeout=10)
    await empty.done_writing()
    assert await empty.code() is grpc.StatusCode.OK
    mute = stream(timeout=10)
    assert await mute.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "no message within 0.3 s" in (await mute.details() or "")
    assert not oip.upstream.started.is_set()


async def test_no_listener_behind_the_relay_is_unavailable() -> None:
    async with running(example()) as oip:
        (oip.rest.parent / "up.sock").unlink()
        async with grpc.aio.insecure_channel(oip.grpc_target) as channel:
            unreachable: Stream = channel.stream_stream(STREAM_METHOD)
            call = unreachable(timeout=10)
            await call.write(message())
            assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def test_tritonclients_stream(oip: Running) -> None:
    async def answer(context: Context) -> None:
        while isinstance(received := await context.read(), bytes):
            request = pb.ModelInferRequest.FromString(received)
            answer = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
            # Triton wraps the answers of a stream: {error_message, infer_response}.
            body = answer.SerializeToString()
            await context.write(b"\x12" + bytes([len(body)]) + body)

    oip.upstream.script = answer

    def ask() -> list[str]:
        answers: queue.Queue[object] = queue.Queue()
        client = triton_grpc.InferenceServerClient(oip.grpc_target)
        client.start_stream(callback=lambda result, error: answers.put(error or result))
        tensor = triton_grpc.InferInput("x", [1, 4], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 4), dtype=np.float32))
        ids = []
        for number in range(3):
            client.async_stream_infer("iris", [tensor], request_id=str(number))
            result = answers.get(timeout=5)
            assert isinstance(result, triton_grpc.InferResult), result
            ids.append(result.get_response().id)
        client.stop_stream()
        client.close()
        return ids

    assert await asyncio.to_thread(ask) == ["0", "1", "2"]
