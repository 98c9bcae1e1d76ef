"""The gateway over a real Envoy: hot, cold and fallback paths, refusals, streams."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable

import grpc
import httpx
import pytest
from google.protobuf.message import DecodeError

from overbook.wire import oip_pb2, scheduler_pb2
from overbook.wire.agent_pb2 import ActivateReply
from overbook.wire.common_pb2 import ReplicaRef
from overbook.wire.limits import MAX_HEAD
from tests.integration.fake_inference_server import SERVICE
from tests.integration.gateway_fakes import World, agent_target, eventually, running_world
from tests.unit.gateway.oip.hostile import INVALID_ARGUMENT, NAMED, NOT_FOUND, REFUSED
from tests.unit.wire.writing import block

MODELS = {"iris": [0], "wine": [0], "slow": [0], "broken": [0], "nowhere": []}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running_world(MODELS) as running:
        yield running


async def grpc_refusal(world: World, model: str, **more: str) -> tuple[grpc.StatusCode, str]:
    metadata = {name.replace("_", "-"): value for name, value in more.items()}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.grpc_infer(model, metadata=metadata)
    return caught.value.code(), caught.value.details() or ""


async def test_cold_request_activates_and_later_ones_go_straight(world: World) -> None:
    assert (await world.infer("iris")).json() == {"model_name": "iris", "bytes": 2}
    await world.make_hot("iris")
    for _ in range(5):
        assert (await world.infer("iris")).status_code == 200
    assert world.agent.activations == [("iris", False)]
    assert (await world.grpc_infer("wine", b"abc")).raw_output_contents == [b"abc"]


async def test_preloaded_model_needs_no_activation(world: World) -> None:
    await world.make_hot("iris")
    assert (await world.infer("iris")).status_code == 200
    assert (await world.grpc_infer("iris")).model_name == "iris"
    assert world.agent.activations == []


async def test_many_requests_for_one_cold_model_share_one_activation(world: World) -> None:
    rest = [world.infer("iris") for _ in range(60)]
    calls = [world.grpc_infer("iris") for _ in range(60)]
    answers = await asyncio.gather(*rest)
    assert {answer.status_code for answer in answers} == {200}
    assert len(await asyncio.gather(*calls)) == 60
    assert world.agent.loads == {"iris": 1}
    # Two protocols, and requests that arrived after the first activation had ended.
    assert len(world.agent.activations) < 10


async def test_http2_and_queries_and_versions(world: World) -> None:
    async with httpx.AsyncClient(http1=False, http2=True, base_url=world.rest.base_url) as h2:
        answer = await h2.post("/v2/models/iris/infer?x=1", content=b"{}")
    assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
    assert (await world.rest.post("/v2/models/iris/versions/v1/infer", content=b"")).is_success


async def test_unknown_and_unscheduled_models_reach_no_agent(world: World) -> None:
    unknown = await world.infer("nope")
    assert (unknown.status_code, unknown.json()) == (404, {"error": "model nope: not found"})
    assert unknown.headers["content-type"] == "application/json"
    assert "grpc-status" not in unknown.headers
    nowhere = await world.infer("nowhere")
    assert (nowhere.status_code, nowhere.headers["retry-after"]) == (503, "1")
    assert "no room" in nowhere.json()["error"]
    status = grpc.StatusCode
    assert await grpc_refusal(world, "nope") == (status.NOT_FOUND, "model nope: not found")
    code, details = await grpc_refusal(world, "nowhere")
    assert code is status.UNAVAILABLE
    assert "no room" in details
    assert world.agent.activations == []


async def test_failed_load_gives_the_servers_reason(world: World) -> None:
    world.agent.refuse["broken"] = ActivateReply(
        outcome=ActivateReply.LOAD_FAILED, reason="no module named 'torch' (é)"
    )
    answer = await world.infer("broken")
    assert answer.status_code == 503
    assert answer.json() == {"error": "model broken: no module named 'torch' (é)"}
    code, details = await grpc_refusal(world, "broken")
    assert (code, details) == (
        grpc.StatusCode.UNAVAILABLE,
        "model broken: no module named 'torch' (é)",
    )
    # A refusal is final: it is not tried again at any level.
    assert world.agent.activations == [("broken", False)] * 2


@pytest.mark.parametrize("hot", [True, False], ids=["hot", "cold"])
async def test_a_request_that_was_lost_twice_is_told_why(world: World, hot: bool) -> None:
    """It was begun once more, and not a third time; what Envoy says of that tells nobody what happened."""
    if hot:
        await world.make_hot("iris")
    world.server.hangs_up.add("iris")
    before = world.server.hits["iris"]
    answer = await world.infer("iris")
    assert answer.status_code == 503
    assert (
        "the inference server ended or hung up while it had this request" in answer.json()["error"]
    )
    assert world.server.hits["iris"] <= before + 2


async def test_header_that_names_another_model_is_refused(world: World) -> None:
    await world.make_hot("iris", "wine")
    answer = await world.infer("iris", seldon_model="wine")
    assert answer.status_code == 400
    assert "wine" in answer.json()["error"]
    code, details = await grpc_refusal(world, "iris", seldon_model="wine")
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "wine" in details
    assert (await grpc_refusal(world, "", seldon_model="wine"))[0] is code
    assert (await world.infer("iris", seldon_model="iris")).status_code == 200
    ready = await world.rest.get("/v2/models/iris/ready", headers={"seldon-model": "wine"})
    assert ready.status_code == 400
    assert world.server.hits["wine"] == 0


async def test_last_model_name_in_the_message_counts(world: World) -> None:
    """A protobuf parser takes the last of a repeated field: so must whoever routes by it."""
    await world.make_hot("iris", "wine")
    twice = b"\x0a\x04iris" + b"\x1a\x021x" + b"\x0a\x04wine"
    answer = oip_pb2.ModelInferResponse.FromString(await world.raw_call(twice))
    assert answer.model_name == "wine"
    for garbage in (b"\x0a\xff", b"\x0b", b"\x0a\x04iris\x12\x7f", b""):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await world.raw_call(garbage)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def refused(call: Awaitable[object]) -> tuple[int, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().value[0], caught.value.details() or ""


async def test_a_message_is_refused_alike_alone_and_in_a_stream(world: World) -> None:
    """Alone the script in Envoy reads it; what is compressed or in a stream comes to the gateway."""
    await world.make_hot("iris")
    stream: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = world.channel.stream_stream(
        f"/{SERVICE}/ModelStreamInfer"
    )
    gzip = grpc.Compression.Gzip
    for why, (message, refusal) in REFUSED.items():
        assert await refused(world.raw_call(message)) == refusal, why
        assert await refused(world.raw_call(message, compression=gzip)) == refusal, why
        # With the header the stream is of one model, and a refusal ends it.
        call = stream(timeout=10, metadata=(("seldon-model", "iris"),))
        await call.write(message)
        assert await refused(call.read()) == refusal, why
    assert world.server.hits["iris"] == 0
    assert world.agent.activations == []


async def test_messages_that_name_a_model_in_a_crooked_way_reach_it(world: World) -> None:
    """Whether the server takes them is its own affair: the fake one does not, where its decoder does not."""
    await world.make_hot("iris", "wine")
    for how, message in NAMED.items():
        try:
            expected = oip_pb2.ModelInferRequest.FromString(message).model_name
        except DecodeError:
            assert (await refused(world.raw_call(message)))[0] not in {
                INVALID_ARGUMENT,
                NOT_FOUND,
            }, how
        else:
            answer = oip_pb2.ModelInferResponse.FromString(await world.raw_call(message))
            assert answer.model_name == expected == "iris", how
    assert world.server.hits["wine"] == 0


_COMPRESSIONS = [grpc.Compression.Gzip, grpc.Compression.Deflate]


@pytest.mark.parametrize("hot", [False, True], ids=["cold", "hot"])
@pytest.mark.parametrize("compression", _COMPRESSIONS, ids=["gzip", "deflate"])
async def test_a_compressed_message_is_a_message(
    world: World, hot: bool, compression: grpc.Compression
) -> None:
    if hot:
        await world.make_hot("iris")
    data = bytes(100_000)
    request = oip_pb2.ModelInferRequest(model_name="iris", raw_input_contents=[data])
    answer = await world.raw_call(request.SerializeToString(), compression=compression)
    assert oip_pb2.ModelInferResponse.FromString(answer).raw_output_contents == [data]
    assert world.agent.activations == ([] if hot else [("iris", False)])


async def test_a_compressed_message_is_refused_like_any_other(world: World) -> None:
    gzip, status = grpc.Compression.Gzip, grpc.StatusCode
    # What is small Envoy's script reads; a bomb comes to the gateway.
    for bomb in (b"", block(7, bytes(1_000_000))):
        for message, code, says in (
            (b"\x0a\x04nope" * 1000, status.NOT_FOUND, "nope"),
            (b"\x0a\x00" * 1000, status.INVALID_ARGUMENT, "model_name: empty"),
            (b"\x0a\x7f" + bytes(60), status.INVALID_ARGUMENT, "not a ModelInferRequest"),
            (b"\x0a\x07nowhere" * 1000, status.UNAVAILABLE, "no room"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await world.raw_call(bomb + message, compression=gzip)
            told = caught.value.details() or ""
            assert (caught.value.code(), says in told) == (code, True), told
            if not bomb:
                assert await refused(world.raw_call(message)) == (code.value[0], told)
    assert world.agent.activations == []


async def test_the_deadline_of_a_compressed_call_ends_the_wait(world: World) -> None:
    async def never(model: str) -> None:
        await asyncio.sleep(3600)

    world.agent.load = never
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.raw_call(b"\x0a\x04slow" * 1000, seconds=0.3, compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: world.agent.running == 0)


async def test_clients_cannot_steer_with_internal_headers(world: World) -> None:
    await world.make_hot("wine")
    answer = await world.infer(
        "iris",
        x_overbook_model="wine",
        x_overbook_cluster="rest/wine/0",
        x_overbook_hop="1,1,1",
        x_overbook_grant="mine",
        x_overbook_missed="rest/iris/0",
        x_overbook_verified="1",
        x_envoy_attempt_count="2",
        x_envoy_max_retries="9",
    )
    assert answer.json()["model_name"] == "iris"
    assert world.agent.activations == [("iris", False)]
    assert world.gateway.router.grants.total("fake/0", "iris") == 1


@pytest.mark.parametrize("name", ["..%2Fx", "a%2fb", "Iris", "a" * 254, "-a", "a_b"])
async def test_impossible_names_are_not_found(world: World, name: str) -> None:
    answer = await world.infer(name)
    assert answer.status_code == 404
    assert answer.json()["error"]
    assert world.agent.activations == []


@pytest.mark.parametrize(
    "path",
    ["/v2/models/wine/../iris/infer", "/v2/models/./iris/infer", "/v2//models/iris/infer"],
)
async def test_crooked_paths_lead_nowhere(world: World, path: str) -> None:
    """Neither we nor an inference server straighten a path: both must read it the same way."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)
    writer.close()
    await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 404 ")
    assert world.agent.activations == []


@pytest.mark.slow
async def test_more_paths_than_the_script_remembers(world: World) -> None:
    await world.make_hot("iris")
    for number in range(4200):
        answer = await world.rest.post(f"/v2/models/iris/infer?n={number}", content=b"{}")
        assert answer.status_code == 200
    assert world.agent.activations == []


async def test_a_head_that_envoy_takes_is_not_too_long_to_be_asked_about(world: World) -> None:
    async def status(head: int) -> int:
        path = f"/v2/models/iris/infer?{'x' * head}"
        return (await world.rest.post(path, content=b"{}")).status_code

    assert await status(MAX_HEAD - 1000) == 200
    assert world.agent.activations == [("iris", False)]
    assert await status(MAX_HEAD + 1000) == 431


async def test_percent_encoded_name_is_the_model_it_spells(world: World) -> None:
    assert (await world.infer("%69ris")).json()["model_name"] == "iris"


async def test_ready_and_metadata_of_a_cold_model_do_not_load_it(world: World) -> None:
    assert (await world.rest.get("/v2/models/iris/ready")).status_code == 200
    assert (await world.rest.get("/v2/models/iris")).json()["name"] == "iris"
    assert (await world.rest.get("/v2/models/nope")).status_code == 404
    assert (await world.rest.get("/v2/health/ready")).status_code == 200
    assert world.agent.activations == []


async def test_other_paths_are_not_found(world: World) -> None:
    for path in ("/", "/v2x", "/v2/nonsense", "/v2/models/iris/versions/1/stats/more/.."):
        answer = await world.rest.post(path, content=b"{}")
        assert answer.status_code in (404, 405)
        assert answer.json()["error"]
    assert world.agent.activations == []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.raw_call(b"", method="/some.Service/Call")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_what_the_models_server_has_no_call_for_loads_nothing(world: World) -> None:
    replica = scheduler_pb2.CatalogueReplica(
        ref=ReplicaRef(server="fake", replica=0),
        agent_target=agent_target(world.folder, 0),
        runtime="triton",
    )
    await world.scheduler.change(scheduler_pb2.CatalogueUpdate(replicas=[replica]), 7)
    wrong = await world.rest.get("/v2/models/iris/infer")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert "method GET is not allowed" in wrong.json()["error"]
    for path, headers in (
        ("/v2/models/iris/infer_stream", {}),
        ("/v2/models/iris/own/path", {}),
        ("/own/path", {"seldon-model": "iris"}),
    ):
        answer = await world.rest.post(path, content=b"{}", headers=headers)
        assert (answer.status_code, "no such endpoint on Triton" in answer.text) == (404, True)
    replica.runtime = "mlserver"
    await world.scheduler.change(scheduler_pb2.CatalogueUpdate(replicas=[replica]), 8)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.raw_call(b"\x0a\x04iris", method=f"/{SERVICE}/ModelConfig")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "on a server that has no configuration" in (caught.value.details() or "")
    assert world.agent.activations == []


async def test_evicted_behind_our_back_is_reactivated(world: World) -> None:
    await world.make_hot("iris")
    world.server.loaded.clear()
    assert (await world.infer("iris")).status_code == 200
    world.server.loaded.clear()
    assert (await world.grpc_infer("iris")).model_name == "iris"
    assert world.agent.activations == [("iris", True)] * 2
    assert world.server.misses["iris"] == 2


async def test_dead_server_is_replaced_without_an_error(world: World) -> None:
    """The server dies with the model in use; the agent starts another one elsewhere."""
    await world.make_hot("iris")
    replacement = type(world.server)()
    async with replacement.serving():

        async def restart(model: str) -> None:
            world.agent.server = replacement
            world.agent.say_address()
            await asyncio.sleep(0.05)

        world.agent.load = restart
        # Nobody listens where the gateway believes the server to be.
        world.server.loaded.clear()
        world.gateway.router._addresses.clear()
        dead = type(world.server)()
        world.agent.server = dead
        dead.rest_port = dead.grpc_port = 1
        world.agent.say_address()
        await asyncio.sleep(0.05)
        answers = await asyncio.gather(*(world.infer("iris") for _ in range(10)))
        assert {answer.status_code for answer in answers} == {200}
        assert (await world.grpc_infer("iris")).model_name == "iris"
        assert replacement.hits["iris"] == 11


async def test_legitimate_404_reaches_the_client_as_it_is(world: World) -> None:
    for hot in (False, True):
        if hot:
            await world.make_hot("iris")
        answer = await world.rest.post("/v2/models/iris/versions/v9/infer", content=b"{}")
        assert (answer.status_code, answer.json()) == (404, {"error": "no such version"})
    assert world.agent.loads == {"iris": 1}


@pytest.mark.parametrize("hot", [False, True], ids=["cold", "hot"])
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, grpc.StatusCode.NOT_FOUND),
        (421, grpc.StatusCode.UNIMPLEMENTED),
        (503, grpc.StatusCode.UNAVAILABLE),
        (500, grpc.StatusCode.INTERNAL),
    ],
)
async def test_what_a_model_answers_itself_is_asked_once(
    world: World, status: int, code: grpc.StatusCode, hot: bool
) -> None:
    world.server.own_answers["iris"] = status, code
    if hot:
        await world.make_hot("iris")
    answer = await world.infer("iris")
    assert (answer.status_code, answer.json()) == (status, {"error": "said the model"})
    assert world.server.hits["iris"] == 1
    assert await grpc_refusal(world, "iris") == (code, "said the model")
    assert world.server.hits["iris"] == 2
    call = _open_stream(world)
    await call.write(oip_pb2.ModelInferRequest(model_name="iris"))
    with contextlib.suppress(grpc.aio.AioRpcError):
        await call.read()
    assert (await call.code(), await call.details()) == (code, "said the model")
    assert world.server.hits["iris"] == 3


async def test_clients_do_not_see_the_mark_of_what_no_model_answered(world: World) -> None:
    world.agent.refuse["iris"] = ActivateReply(outcome=ActivateReply.RESIDENT)
    answer = await world.infer("iris")
    assert answer.status_code == 404
    assert "x-overbook-unanswered" not in answer.headers
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.grpc_infer("iris")
    assert not [
        key
        for key, _ in (*caught.value.initial_metadata(), *caught.value.trailing_metadata())
        if key.startswith("x-overbook")
    ]


async def test_request_that_never_succeeds_ends(world: World) -> None:
    """Resident says the agent, not there says the server: the server's answer is the last word."""
    world.agent.refuse["iris"] = ActivateReply(outcome=ActivateReply.RESIDENT)
    answer = await world.infer("iris")
    assert answer.status_code == 404
    assert (await grpc_refusal(world, "iris"))[0] is grpc.StatusCode.NOT_FOUND
    # Each request asks twice: at first, and as a suspect. A worker thread of Envoy that does not have the new
    # cluster yet asks once more.
    assert 4 <= len(world.agent.activations) <= 6


async def test_activation_is_withdrawn_when_the_last_client_leaves(world: World) -> None:
    async def never(model: str) -> None:
        await asyncio.sleep(3600)

    world.agent.load = never
    tasks = [asyncio.create_task(world.infer("slow")) for _ in range(3)]
    await eventually(lambda: world.agent.running == 1)
    tasks[0].cancel()
    await asyncio.sleep(0.1)
    assert world.agent.running == 1
    for task in tasks:
        task.cancel()
    await eventually(lambda: world.agent.running == 0)
    assert world.agent.cancelled == 1


async def test_grpc_deadline_ends_the_wait(world: World) -> None:
    async def never(model: str) -> None:
        await asyncio.sleep(3600)

    world.agent.load = never
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.raw_call(b"\x0a\x04slow", seconds=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: world.agent.running == 0)


async def test_events_are_not_held_back(world: World) -> None:
    for hot in (False, True):
        world.server.stream_gate.clear()
        if hot:
            await world.make_hot("iris")
        async with world.rest.stream(
            "POST", "/v2/models/iris/infer_stream", content=b"{}"
        ) as answer:
            chunks = answer.aiter_text()
            assert await asyncio.wait_for(anext(chunks), 5) == "data: first\n\n"
            world.server.stream_gate.set()
            assert "".join([chunk async for chunk in chunks]) == "data: last\n\n"


def _open_stream(
    world: World, metadata: tuple[tuple[str, str], ...] = ()
) -> grpc.aio.StreamStreamCall[oip_pb2.ModelInferRequest, oip_pb2.ModelInferResponse]:
    stream: grpc.aio.StreamStreamMultiCallable[
        oip_pb2.ModelInferRequest, oip_pb2.ModelInferResponse
    ] = world.channel.stream_stream(
        f"/{SERVICE}/ModelStreamInfer",
        request_serializer=oip_pb2.ModelInferRequest.SerializeToString,
        response_deserializer=oip_pb2.ModelInferResponse.FromString,
    )
    return stream(timeout=10, metadata=metadata)


async def test_streams_go_through_the_relay_hot_and_cold(world: World) -> None:
    for _ in range(2):
        call = _open_stream(world)
        for number in range(3):
            # One at a time: an answer must not wait for the end of the requests.
            await call.write(oip_pb2.ModelInferRequest(model_name="wine", id=str(number)))
            answer = await call.read()
            assert isinstance(answer, oip_pb2.ModelInferResponse)
            assert (answer.model_name, answer.id) == ("wine", str(number))
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
        await world.make_hot("wine")
    assert world.agent.activations == [("wine", False)]
    call = _open_stream(world, metadata=(("seldon-model", "nope"),))
    await call.write(oip_pb2.ModelInferRequest(model_name="nope"))
    with contextlib.suppress(grpc.aio.AioRpcError):
        await call.read()
    assert await call.code() is grpc.StatusCode.NOT_FOUND


async def test_one_stream_may_name_several_models(world: World) -> None:
    await world.make_hot("iris")
    call = _open_stream(world)
    for number, name in enumerate(["iris", "wine", "iris", "wine"]):
        await call.write(oip_pb2.ModelInferRequest(model_name=name, id=str(number)))
        answer = await call.read()
        assert isinstance(answer, oip_pb2.ModelInferResponse)
        assert (answer.model_name, answer.id) == (name, str(number))
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    assert world.agent.activations == [("wine", False)]


async def test_a_path_that_a_model_defines_for_itself(world: World) -> None:
    """Where it does not name the model the header does, and then the model is brought into memory for it."""
    for path, headers in (
        ("/v2/models/iris/own/path", {}),
        ("/own/path", {"seldon-model": "iris"}),
    ):
        world.server.loaded.clear()
        answer = await world.rest.get(path, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"own": "iris"})
        await asyncio.wait_for(world.agent.withdraw("iris", unload=True), 5)
    assert world.agent.activations == [("iris", False)] * 2
    for path in ("/own/path", "/v2/own/path", "/%76%32/own/path"):
        headers = {} if path == "/own/path" else {"seldon-model": "iris"}
        answer = await world.rest.get(path, headers=headers)
        assert answer.status_code == 404
        assert answer.json()["error"]
    assert len(world.agent.activations) == 2


async def test_a_question_that_fails_lets_nobody_through(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over gRPC Envoy would take its own answer for a failed question, which is 200, for a yes."""

    asked = []

    async def fail(wish: object) -> object:
        asked.append(wish)
        raise RuntimeError("by mistake")

    monkeypatch.setattr(world.gateway._activator, "activate", fail)
    world.server.loaded.add("iris")
    answer = await world.infer("iris")
    assert answer.status_code == 503
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.grpc_infer("iris")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(asked) == 2, "a yes without a place would go round and ask again"
    assert not world.server.hits
    assert not world.server.misses


async def test_what_envoy_itself_forbids_is_not_said_to_be_unavailable(world: World) -> None:
    upgrade = {"connection": "Upgrade", "upgrade": "websocket"}
    answer = await world.rest.get("/v2/health/live", headers=upgrade)
    assert answer.status_code == 403
