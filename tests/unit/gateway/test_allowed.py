"""Which servers allow what, and how often they are told; the servers are real in `tests/integration`."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from overbook.gateway import allowed as allowed_module
from overbook.gateway.allowed import Allowed
from overbook.gateway.catalogue import Catalogue
from overbook.gateway.oip.errors import NotAvailable
from overbook.gateway.oip.ports import ServerAddress
from overbook.gateway.router import ServerAddresses
from overbook.gateway.xds import Feed
from overbook.wire import scheduler_pb2
from overbook.wire.common_pb2 import ReplicaRef
from tests.unit.gateway.routers import router_with

FIRST = ServerAddress("h:1", "h:2")


def replica(server: str, *allow: str) -> scheduler_pb2.CatalogueReplica:
    ref = ReplicaRef(server=server, replica=0)
    return scheduler_pb2.CatalogueReplica(ref=ref, agent_target="t", runtime="triton", allow=allow)


@pytest.fixture
def catalogue() -> Catalogue:
    made = Catalogue()
    refs = [ReplicaRef(server=each, replica=0) for each in ("open", "strict", "unheard")]
    iris = scheduler_pb2.CatalogueModel(name="iris", replicas=refs)
    replicas = [replica("strict"), replica("open", "log", "trace"), replica("down", "log")]
    made.apply(
        scheduler_pb2.CatalogueUpdate(reset=True, models=[iris], replicas=replicas, complete=True)
    )
    return made


@pytest.fixture
async def allowed(catalogue: Catalogue) -> Allowed:
    router = await router_with(Feed(), "iris")
    await router.set_address("open/0", ServerAddresses(rest="h:1", grpc="h:2"))
    return Allowed(catalogue, router)


async def test_words_servers_and_who_forbids(allowed: Allowed) -> None:
    assert allowed.words() == {"log", "trace"}
    assert allowed.servers("log") == [None, FIRST], "by name: down, open"
    assert allowed.servers("trace") == [FIRST]
    assert allowed.servers("repository") == []
    assert allowed.forbidding("iris", "log") == ["strict"]
    assert allowed.forbidding("iris", "repository") == ["open", "strict"]
    assert allowed.forbidding("nobody", "log") == []


async def test_a_server_is_told_once_and_again_when_something_changed(
    allowed: Allowed, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Collection[str]] = []
    silent = False

    async def tell(where: ServerAddress, allow: Collection[str]) -> None:
        told.append(sorted(allow))
        if silent:
            raise NotAvailable("it did not answer")

    monkeypatch.setattr(allowed.kept, "tell", tell)
    for _ in range(2):
        await allowed.tell("open/0", FIRST)
    assert told == [["log", "trace"]]
    allowed.kept.settings("log", {"log_info": False})
    await allowed.tell("open/0", FIRST)
    assert len(told) == 2
    catalogue.apply(scheduler_pb2.CatalogueUpdate(replicas=[replica("open", "log")]))
    silent = True
    await allowed.tell("open/0", FIRST)
    silent = False
    await allowed.tell("open/0", FIRST)
    assert told[2:] == [["log"], ["log"]], "it is told again what it did not hear"


async def test_a_server_that_hangs_is_not_waited_for(
    allowed: Allowed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(allowed_module, "_SECONDS", 0.0)
    monkeypatch.setattr(allowed.kept, "tell", hang)
    await allowed.tell("open/0", FIRST)
