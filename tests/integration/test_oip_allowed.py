"""Unmodified clients and the calls that a Server may allow: what is passed on to two servers, over both protocols.

That Triton itself answers so is `tests/e2e/test_triton_clients.py`'s to show.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from overbook.gateway.oip.errors import NotAllowed, NotAvailable
from overbook.gateway.oip.kept import Kept
from overbook.gateway.oip.ports import ServerAddress
from tests.integration.fake_triton import FakeTriton
from tests.integration.oip_harness import running, tcp_door
from tests.unit.gateway.oip.catalogue import FakeAllowed, FakeResidency, example

NOBODY = ServerAddress("127.0.0.1:1", "127.0.0.1:1")
WORDS = ("sharedMemory", "trace", "log", "repository")


@dataclass(frozen=True, slots=True)
class Scene:
    """``clients``: one for each protocol, which must be used in the one ``thread``."""

    servers: tuple[FakeTriton, FakeTriton]
    allowed: FakeAllowed
    residency: FakeResidency
    kept: Kept
    clients: dict[str, Any]
    thread: ThreadPoolExecutor

    async def ask(self, protocol: str, ask: Callable[[Any], Any]) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.thread, ask, self.clients[protocol])

    async def refusal(self, protocol: str, ask: Callable[[Any], Any]) -> str:
        with pytest.raises(InferenceServerException) as caught:
            await self.ask(protocol, ask)
        return f"{caught.value.status()} {caught.value.message()}"


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    catalogue, one, two = example(), FakeTriton(), FakeTriton()
    catalogue.kind_of = {"iris": "triton", "wine": "mlserver"}
    async with one.serving(), two.serving():
        addresses = [one.address, two.address]
        allowed = FakeAllowed({word: [*addresses] for word in WORDS})
        residency, kept = FakeResidency(addresses), Kept()
        async with (
            running(catalogue, allowed=allowed, residency=residency, kept=kept) as oip,
            tcp_door(oip.rest) as port,
        ):
            with ThreadPoolExecutor(1) as thread:
                make = {
                    "rest": partial(triton_http.InferenceServerClient, f"127.0.0.1:{port}"),
                    "grpc": partial(triton_grpc.InferenceServerClient, oip.grpc_target),
                }
                loop = asyncio.get_running_loop()
                clients = {
                    name: await loop.run_in_executor(thread, made) for name, made in make.items()
                }
                yield Scene((one, two), allowed, residency, kept, clients, thread)
                for client in clients.values():
                    await loop.run_in_executor(thread, client.close)


def trace_settings(model: str, client: Any) -> Any:
    return client.get_trace_settings(model)


both = pytest.mark.parametrize("protocol", ["rest", "grpc"])


def names(status: Any) -> list[str]:
    """Of regions, as either client shows them."""
    found = status if isinstance(status, list) else status.regions.values()
    return sorted(each["name"] if isinstance(each, dict) else each.name for each in found)


@both
async def test_a_region_is_registered_with_all_servers_that_allow_it(
    scene: Scene, protocol: str
) -> None:
    one, two = scene.servers
    await scene.ask(protocol, lambda client: client.register_system_shared_memory("a", "/k", 64))
    await scene.ask(protocol, lambda client: client.register_system_shared_memory("b", "/l", 8, 4))
    assert one.regions == two.regions
    assert one.regions["system"]["b"] == {"name": "b", "key": "/l", "offset": 4, "byte_size": 8}
    two.regions["system"]["theirs"] = {"name": "theirs", "key": "/m", "offset": 0, "byte_size": 1}
    for each in ("rest", "grpc"):
        status = await scene.ask(each, lambda client: client.get_system_shared_memory_status())
        assert names(status) == ["a", "b", "theirs"]
        named = await scene.ask(
            each, lambda client: client.get_system_shared_memory_status("theirs")
        )
        assert names(named) == ["theirs"]
        missing = await scene.refusal(
            each, lambda client: client.get_system_shared_memory_status("nobody")
        )
        assert "Unable to find system shared memory region: 'nobody'" in missing
    await scene.ask(protocol, lambda client: client.unregister_system_shared_memory("a"))
    assert [*one.regions["system"], *two.regions["system"]] == ["b", "b", "theirs"]
    await scene.ask(protocol, lambda client: client.unregister_system_shared_memory())
    assert one.regions == two.regions == {"system": {}, "cuda": {}}


@both
async def test_regions_of_a_gpu_are_passed_on_as_well(scene: Scene, protocol: str) -> None:
    handle = b"\xff\x00" * 32
    encoded = base64.b64encode(handle)
    await scene.ask(
        protocol, lambda client: client.register_cuda_shared_memory("c", encoded, 0, 64)
    )
    for server in scene.servers:
        assert server.regions["cuda"]["c"]["byte_size"] == 64
        server.regions["cuda"]["c"].setdefault("device_id", 0)
    if protocol == "grpc":
        assert scene.servers[1].regions["cuda"]["c"]["raw_handle"] == handle
    status = await scene.ask("grpc", lambda client: client.get_cuda_shared_memory_status())
    assert names(status) == ["c"]
    await scene.ask(protocol, lambda client: client.unregister_cuda_shared_memory("c"))
    assert not scene.servers[0].regions["cuda"]


@both
async def test_a_region_is_with_all_servers_or_with_none(scene: Scene, protocol: str) -> None:
    one, two = scene.servers
    two.broken.add("/k")

    def register(client: Any) -> None:
        client.register_system_shared_memory("a", "/k", 64)

    said = await scene.refusal(protocol, register)
    assert "Unable to open shared memory region: '/k'" in said
    assert ("500" in said) is (protocol == "rest")
    assert not one.regions["system"]
    two.broken.clear()
    scene.allowed.allowing["sharedMemory"] = [one.address, NOBODY]
    assert "did not answer" in await scene.refusal(protocol, register)
    assert not one.regions["system"]


@both
async def test_who_registers_twice_is_told_and_loses_nothing(scene: Scene, protocol: str) -> None:
    def register(client: Any) -> None:
        client.register_system_shared_memory("a", "/k", 64)

    await scene.ask(protocol, register)
    assert "already in manager" in await scene.refusal(protocol, register)
    for server in scene.servers:
        assert "a" in server.regions["system"]


async def test_a_process_that_takes_anothers_place_is_told_again(scene: Scene) -> None:
    handle = b"h" * 64
    encoded = base64.b64encode(handle)
    for protocol, ask in (
        ("rest", lambda client: client.register_system_shared_memory("a b:c", "/k", 64)),
        ("grpc", lambda client: client.register_system_shared_memory("g", "/l", 64)),
        ("grpc", lambda client: client.register_cuda_shared_memory("c", encoded, 0, 64)),
        ("rest", lambda client: client.register_system_shared_memory("gone", "/gone", 64)),
        ("rest", lambda client: client.register_system_shared_memory("ended", "/m", 64)),
        ("grpc", lambda client: client.unregister_system_shared_memory("ended")),
        ("rest", lambda client: client.update_trace_settings(settings={"trace_rate": "5"})),
        (
            "grpc",
            lambda client: client.update_trace_settings(settings={"trace_level": ["TENSORS"]}),
        ),
        ("grpc", lambda client: client.update_log_settings({"log_verbose_level": 2})),
        ("rest", lambda client: client.update_log_settings({"log_info": False})),
    ):
        await scene.ask(protocol, ask)
    async with FakeTriton().serving() as fresh:
        fresh.broken.add("/gone")
        await scene.kept.tell(fresh.address, WORDS)
        old = scene.servers[0]
        assert sorted(fresh.regions["system"]) == ["a%20b:c", "g"]
        assert fresh.regions["cuda"]["c"]["raw_handle"] == handle
        assert fresh.settings == old.settings
        assert fresh.settings["trace"] == {"trace_level": ["TENSORS"], "trace_rate": "5"}
        assert fresh.settings["log"] == {"log_info": False, "log_verbose_level": 2}
        changes = fresh.changes
        fresh.settings["log"]["log_verbose_level"] = 0
        await scene.kept.tell(fresh.address, ["sharedMemory"])
        assert fresh.changes == changes, "what it has it has; what cannot be opened is forgotten"
        await scene.kept.take_back(fresh.address)
        assert not fresh.regions["system"]
    async with FakeTriton().serving() as stranger:
        await scene.kept.tell(stranger.address, ["repository"])
        assert not stranger.changes


@both
async def test_settings_are_changed_everywhere_and_looked_at_in_one_place(
    scene: Scene, protocol: str
) -> None:
    one, two = scene.servers
    changed = await scene.ask(
        protocol, lambda client: client.update_log_settings({"log_verbose_level": 3})
    )
    found = await scene.ask("rest", lambda client: client.get_log_settings())
    assert found["log_verbose_level"] == 3
    if protocol == "rest":
        assert changed == found
    assert one.settings["log"] == two.settings["log"] == found
    await scene.ask(
        protocol, lambda client: client.update_trace_settings(settings={"trace_rate": "7"})
    )
    assert (
        one.settings["trace"]
        == two.settings["trace"]
        == {"trace_level": ["OFF"], "trace_rate": "7"}
    )
    changes = two.changes
    await scene.ask(protocol, lambda client: client.get_trace_settings())
    assert two.changes == changes
    two.broken.add("log_info")
    said = await scene.refusal(
        protocol, lambda client: client.update_log_settings({"log_info": False})
    )
    assert "log_info can not be updated" in said
    assert ("501" if protocol == "rest" else "UNIMPLEMENTED") in said


@both
async def test_a_models_trace_settings_are_its_servers_own(scene: Scene, protocol: str) -> None:
    one, two = scene.servers
    one.models["iris"], two.models["iris"] = {"trace_rate": "1"}, {"trace_rate": "1"}
    await scene.ask(
        protocol,
        lambda client: client.update_trace_settings("iris", settings={"trace_rate": "9"}),
    )
    assert one.models == two.models == {"iris": {"trace_rate": "9"}}
    assert one.settings["trace"]["trace_rate"] == "1000"
    await scene.ask(protocol, lambda client: client.get_trace_settings("iris"))
    assert scene.residency.calls == [("everywhere", "iris"), ("somewhere", "iris")]
    assert not scene.residency.held
    status = {"rest": ("404", "404", "403", "503"), "grpc": ("NOT_F", "UNIMPL", "PERMI", "UNAVA")}
    scene.allowed.forbids["iris", "trace"] = ["strict"]
    for name, code in zip(("nobody", "wine", "iris", "huge"), status[protocol], strict=True):
        said = await scene.refusal(protocol, partial(trace_settings, name))
        assert code in said
    scene.allowed.forbids.clear()
    scene.residency.refusal = NotAvailable("model 'iris': bad pickle")
    said = await scene.refusal(protocol, lambda client: client.get_trace_settings("iris"))
    assert "bad pickle" in said


@both
async def test_load_and_unload(scene: Scene, protocol: str) -> None:
    await scene.ask(protocol, lambda client: client.load_model("iris"))
    await scene.ask(protocol, lambda client: client.unload_model("iris", unload_dependents=True))
    assert scene.residency.calls == [("load", "iris"), ("unload", "iris")]
    said = await scene.refusal(
        protocol, lambda client: client.load_model("iris", config="{}", files={"file:1/m": b"\xff"})
    )
    assert "with 'config', 'file:1/m' refused" in said
    assert "404" in await scene.refusal(protocol, lambda client: client.load_model("nobody")) or (
        protocol == "grpc"
    )
    scene.residency.refusal = NotAllowed("it is pinned")
    said = await scene.refusal(protocol, lambda client: client.unload_model("iris"))
    assert "it is pinned" in said
    assert ("403" if protocol == "rest" else "PERMISSION_DENIED") in said
    assert scene.residency.calls[2:] == [("unload", "iris")]
