"""Unmodified clients against the endpoints that need no model, over real sockets."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import grpc
import httpx
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from overbook.gateway.oip.kept import Kept
from overbook.gateway.oip.server import OipServer, OipSettings
from overbook.wire import oip_pb2 as pb
from tests.integration.oip_harness import running, tcp_door
from tests.unit.gateway.oip.access import FakeAccess
from tests.unit.gateway.oip.catalogue import FakeAllowed, FakeResidency, example


def _ask_over_rest(port: int) -> None:
    client = triton_http.InferenceServerClient(f"127.0.0.1:{port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["name"] == "overbook"
    assert client.is_model_ready("iris")
    assert client.is_model_ready("iris", "1")
    assert not client.is_model_ready("huge")
    assert not client.is_model_ready("nobody")
    assert client.get_model_metadata("iris")["inputs"][0]["name"] == "x"
    assert [item["name"] for item in client.get_model_repository_index()] == [
        "huge",
        "iris",
        "wine",
    ]
    with pytest.raises(InferenceServerException, match="is not registered"):
        client.get_model_metadata("nobody")
    with pytest.raises(InferenceServerException, match="overbook activate iris"):
        client.load_model("iris")
    with pytest.raises(InferenceServerException, match="overbook evict iris"):
        client.unload_model("iris")
    client.close()


def _ask_over_grpc(target: str) -> None:
    client = triton_grpc.InferenceServerClient(target)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata().name == "overbook"
    assert client.is_model_ready("iris")
    assert client.is_model_ready("iris", "1")
    assert not client.is_model_ready("huge")
    metadata = client.get_model_metadata("iris")
    assert (metadata.name, list(metadata.inputs[0].shape)) == ("iris", [-1, 4])
    index = client.get_model_repository_index()
    assert [(item.name, item.state) for item in index.models] == [
        ("huge", "UNAVAILABLE"),
        ("iris", "READY"),
        ("wine", "READY"),
    ]
    refusals: tuple[tuple[Callable[[], object], str], ...] = (
        (lambda: client.is_model_ready("nobody"), "NOT_FOUND"),
        (lambda: client.get_model_metadata("nobody"), "NOT_FOUND"),
        (lambda: client.get_model_metadata("wine"), "UNAVAILABLE"),
        (lambda: client.load_model("iris"), "PERMISSION_DENIED"),
        (lambda: client.unload_model("iris"), "PERMISSION_DENIED"),
        (lambda: client.update_trace_settings(), "PERMISSION_DENIED"),
        (lambda: client.get_log_settings(), "PERMISSION_DENIED"),
        (lambda: client.register_system_shared_memory("a", "/b", 64), "PERMISSION_DENIED"),
        (lambda: client.get_cuda_shared_memory_status("a"), "NOT_FOUND"),
        (lambda: client.unload_model("nobody"), "NOT_FOUND"),
        (lambda: client.get_inference_statistics("iris"), "UNIMPLEMENTED"),
    )
    for ask, status in refusals:
        with pytest.raises(InferenceServerException) as caught:
            ask()
        assert caught.value.status() == f"StatusCode.{status}"
    client.close()


async def test_tritonclient_over_rest() -> None:
    async with running(example()) as oip, tcp_door(oip.rest) as port:
        await asyncio.to_thread(_ask_over_rest, port)


async def test_tritonclient_over_grpc() -> None:
    async with running(example()) as oip:
        await asyncio.to_thread(_ask_over_grpc, oip.grpc_target)


async def test_mlservers_repository_service() -> None:
    async with (
        running(example()) as oip,
        grpc.aio.insecure_channel(oip.grpc_target) as channel,
    ):
        index: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/inference.model_repository.ModelRepositoryService/RepositoryIndex"
        )
        answer = await index(pb.RepositoryIndexRequest(ready=True).SerializeToString(), timeout=5)
        models = pb.RepositoryIndexResponse.FromString(answer).models
        assert [model.name for model in models] == ["iris", "wine"]


async def test_the_rest_socket_is_private_and_keeps_connections() -> None:
    async with running(example()) as oip:
        assert oip.rest.stat().st_mode & 0o777 == 0o600
        transport = httpx.AsyncHTTPTransport(uds=str(oip.rest))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            answers = await asyncio.gather(*(client.get("/v2/health/live") for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}


async def test_a_left_over_socket_is_replaced_and_signals_stay_the_callers() -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with running(example()) as oip:
        assert signal.getsignal(signal.SIGTERM) is before
        leftover = oip.rest.parent / "second.sock"
        leftover.touch()
        catalogue = example()
        second = OipServer(
            OipSettings(
                rest_socket=leftover,
                grpc_socket=oip.rest.parent / "second-grpc.sock",
                relay_target="unix:/nowhere",
            ),
            catalogue=catalogue,
            metadata=catalogue.metadata,
            configuration=catalogue.configuration,
            servers=catalogue,
            allowed=FakeAllowed(),
            residency=FakeResidency(),
            kept=Kept(),
            access=FakeAccess(),
        )
        task = asyncio.create_task(second.run())
        async with asyncio.timeout(10):
            await second.serving.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not second.serving.is_set()
        assert sorted(os.listdir(oip.rest.parent)) == ["grpc.sock", "rest.sock", "up.sock"]


async def test_a_socket_that_cannot_be_bound_is_named() -> None:
    async with running(example()) as oip:
        catalogue = example()
        path = oip.rest.parent / "missing-folder" / "rest.sock"
        server = OipServer(
            OipSettings(rest_socket=path, grpc_socket=path, relay_target="unix:/nowhere"),
            catalogue=catalogue,
            metadata=catalogue.metadata,
            configuration=catalogue.configuration,
            servers=catalogue,
            allowed=FakeAllowed(),
            residency=FakeResidency(),
            kept=Kept(),
            access=FakeAccess(),
        )
        with pytest.raises(OSError, match=r"missing-folder/rest\.sock"):
            await server.run()
