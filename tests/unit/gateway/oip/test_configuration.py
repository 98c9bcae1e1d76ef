"""Configurations of models: what is known is told, and what was never loaded is loaded first."""

from __future__ import annotations

import grpc
import pytest

from overbook.gateway.oip import configuration as module
from overbook.gateway.oip.configuration import Configurations, by_call
from overbook.gateway.oip.errors import BadRequest, NoSuchCall, NotAvailable, UnknownModel
from overbook.gateway.oip.ports import ServersConfiguration
from tests.unit.gateway.oip.catalogue import FakeCatalogue, answers_of, example

KNOWN = ServersConfiguration(b"{}", b"known")


@pytest.fixture
def catalogue() -> FakeCatalogue:
    made = example()
    made.kind_of = {"iris": "triton", "wine": "mlserver"}
    return made


@pytest.fixture
def configurations(catalogue: FakeCatalogue) -> Configurations:
    answers = answers_of(catalogue)
    return Configurations(answers, catalogue.configuration, catalogue.load)


@pytest.mark.parametrize("version", ["", "1"])
async def test_what_the_server_said_is_told_and_nothing_is_loaded(
    configurations: Configurations, catalogue: FakeCatalogue, version: str
) -> None:
    catalogue.configuration_of["iris"] = KNOWN
    assert await configurations.find("iris", version) == KNOWN
    assert catalogue.loaded == []


async def test_what_was_never_loaded_is_loaded_for_it_once(
    configurations: Configurations, catalogue: FakeCatalogue
) -> None:
    for _ in range(2):
        assert (await configurations.find("iris", "")).message == b"iris"
    assert catalogue.loaded == ["iris"]


async def test_what_cannot_be_told(
    configurations: Configurations, catalogue: FakeCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue.configuration_of["iris"] = KNOWN
    with pytest.raises(UnknownModel, match="not registered"):
        await configurations.find("nobody", "")
    with pytest.raises(UnknownModel, match="no version '2'"):
        await configurations.find("iris", "2")
    with pytest.raises(NoSuchCall, match="no configuration of models"):
        await configurations.find("wine", "")
    catalogue.configuration_of.clear()
    catalogue.unloadable["iris"] = "model iris: no such file"
    with pytest.raises(NotAvailable, match="no such file"):
        await configurations.find("iris", "")
    catalogue.unloadable.clear()
    monkeypatch.setattr(module, "_TOLD_SECONDS", 0.0)
    with pytest.raises(NotAvailable, match="did not tell it"):
        await configurations.find("iris", "")


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        (grpc.StatusCode.NOT_FOUND, UnknownModel),
        (grpc.StatusCode.INVALID_ARGUMENT, BadRequest),
        (grpc.StatusCode.UNAVAILABLE, NotAvailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, NotAvailable),
    ],
)
async def test_a_load_that_fails_is_told_in_its_words(
    code: grpc.StatusCode, refusal: type[Exception]
) -> None:
    server = grpc.aio.server()

    async def fails(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await context.abort(code, "as it is")

    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(fails)
    handlers = {"ModelConfig": method}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as upstream:
            with pytest.raises(refusal, match="as it is"):
                await by_call(upstream)("iris")
    finally:
        await server.stop(0)
