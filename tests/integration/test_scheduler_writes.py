"""What an answer of the control API waits for and warns of, with scripted gateways and agents."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from overbook.scheduler.actor import HEARD_SECONDS
from overbook.wire import scheduler_pb2 as pb
from tests.integration.scheduler_harness import (
    MB,
    Harness,
    ScriptedAgent,
    harness,
    model_document,
    server_document,
    until,
)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "iris").mkdir()
    (tmp_path / "iris" / "model.joblib").write_bytes(b"x" * 50)
    return tmp_path / "iris"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Harness]:
    async with harness(tmp_path) as found:
        await found.apply(server_document())
        yield found


async def warnings(running: Harness, method: str, path: str) -> list[str]:
    answer = await running.http.request(method, f"/api/v1{path}")
    assert answer.status_code == 200, answer.text
    found: list[str] = answer.json()["warnings"]
    return found


async def applied(running: Harness, *documents: dict[str, object]) -> list[str]:
    answer = await running.http.post("/api/v1/apply", json={"documents": documents})
    assert [each["error"] for each in answer.json()["results"]] == [None] * len(documents)
    found: list[str] = answer.json()["warnings"]
    return found


async def test_gateways_and_agents_know_what_was_answered(running: Harness, artifact: Path) -> None:
    agent = ScriptedAgent("mlserver/0")
    await running.agent(agent)
    one, two = await running.gateway("one"), await running.gateway("two")
    for number in range(10):
        name = f"m{number}"
        assert await applied(running, model_document(name, artifact)) == []
        assert name in one.models
        assert name in two.models
        assert name in agent.assigned
    assert await warnings(running, "POST", "/models/m3/pin") == []
    assert agent.assigned["m3"].pinned
    assert await warnings(running, "DELETE", "/models/m3") == []
    assert "m3" not in one.models
    assert "m3" not in two.models


async def test_a_gateway_that_is_silent_is_named_and_waited_for_once(
    running: Harness, artifact: Path
) -> None:
    await running.agent(ScriptedAgent("mlserver/0"))
    await running.gateway("quick")
    silent = await running.gateway("silent")
    silent.hears = False
    began = time.monotonic()
    found = await applied(running, model_document("a", artifact))
    took = time.monotonic() - began
    assert [each.split(" has ")[0] for each in found] == ["gateway silent"]
    assert HEARD_SECONDS <= took < HEARD_SECONDS + 1.5
    began = time.monotonic()
    found = await applied(running, model_document("b", artifact))
    assert [each.split(" has ")[0] for each in found] == ["gateway silent"]
    assert time.monotonic() - began < HEARD_SECONDS / 2
    silent.hears = True
    await applied(running, model_document("c", artifact))
    await until("it has caught up", lambda: {"a", "b", "c"} <= silent.models.keys())
    assert await applied(running, model_document("d", artifact)) == []


async def test_a_gateway_that_went_away_is_named_and_not_waited_for(
    running: Harness, artifact: Path
) -> None:
    await running.agent(ScriptedAgent("mlserver/0"))
    await running.gateway("stays")
    await running.gateway("goes")
    running._tasks[-1].cancel()
    await asyncio.gather(running._tasks[-1], return_exceptions=True)
    began = time.monotonic()
    found: list[str] = []

    async def named() -> bool:
        found[:] = await warnings(running, "POST", "/models/a/unpin")
        return bool(found)

    await applied(running, model_document("a", artifact))
    await until("it is noticed", named)
    assert found == ["gateway goes is not connected; until it is, it uses what it heard last"]
    assert time.monotonic() - began < HEARD_SECONDS
    await running.gateway("goes")
    assert await applied(running, model_document("b", artifact)) == []


async def test_an_agent_that_is_silent_is_named_for_its_own_models_only(
    running: Harness, artifact: Path
) -> None:
    await running.apply(server_document("other"))
    silent = ScriptedAgent("mlserver/0")
    await running.agent(silent)
    await running.agent(ScriptedAgent("other/0"))
    silent.hears = False
    here = model_document("here", artifact, server="mlserver")
    found = await applied(running, here)
    assert [each.split(" has ")[0] for each in found] == ["the agent of mlserver/0"]
    assert await applied(running, model_document("there", artifact, server="other")) == []


async def test_a_thousand_models_are_not_a_thousand_waits(
    running: Harness, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Together, and each for itself by many people at once. On a busy machine that may take longer than is waited."""
    monkeypatch.setattr("overbook.scheduler.actor.HEARD_SECONDS", 60.0)
    await running.agent(ScriptedAgent("mlserver/0"))
    gateway = await running.gateway()
    updates: list[pb.CatalogueUpdate] = []
    take = gateway.take

    def noting(update: pb.CatalogueUpdate) -> None:
        updates.append(update)
        take(update)

    monkeypatch.setattr(gateway, "take", noting)
    together = [model_document(f"t{number}", artifact, memory=1) for number in range(500)]
    assert await applied(running, *together) == []
    assert len(updates) <= 4
    updates.clear()
    alone = [model_document(f"a{number}", artifact, memory=1) for number in range(500)]
    began = time.monotonic()
    found = await asyncio.gather(*(applied(running, each) for each in alone))
    took = time.monotonic() - began
    assert found == [[]] * 500
    assert gateway.models.keys() >= {f"a{number}" for number in range(500)}
    # One after the other, 500 words at 20 ms would be 10 s.
    assert len(updates) < 250, f"{len(updates)} updates in {took:.1f} s"


async def test_pin_says_whom_it_leaves_without_room(running: Harness, artifact: Path) -> None:
    agent = ScriptedAgent("mlserver/0")
    await running.agent(agent)
    await applied(
        running,
        model_document("large", artifact, memory="7M"),
        model_document("middle", artifact, memory="4M"),
        model_document("small", artifact, memory="1M"),
    )
    expected = (
        "mlserver/0: pinned models take 6.68MiB (7000000 bytes) of 9.54MiB (10000000 bytes), which leaves "
        "no room for middle (3.81MiB (4000000 bytes)): requests for them are refused while the pinned "
        "ones are in memory; unpin one of them, or give the Server more memory"
    )
    assert await warnings(running, "POST", "/models/large/pin") == [expected]
    await running.until_reason("middle", "ModelAvailable")
    said = (await running.http.get("/api/v1/models/middle")).json()["status"]["conditions"][0]
    assert "but pinned models take 6.68MiB" in said["message"]
    evict = await running.http.post("/api/v1/models/large/evict")
    assert evict.status_code == 409
    assert "`overbook unpin large` first" in evict.json()["error"]
    assert not any(each.HasField("command") for each in agent.log)
    assert await warnings(running, "POST", "/models/large/unpin") == []
    said = (await running.http.get("/api/v1/models/middle")).json()["status"]["conditions"][0]
    assert said["message"] == "1 of 1 replicas available"
    document = model_document("large", artifact, memory="7M", pinned=True)
    assert await applied(running, document) == [expected]
    assert await warnings(running, "POST", "/models/large/unpin") == [], "the manifest says so"


async def test_deleting_a_server_says_how_many_lose_their_place(
    running: Harness, artifact: Path
) -> None:
    await running.apply(server_document("other", memory="2M", overcommitPercentage=0))
    await running.agent(ScriptedAgent("mlserver/0"))
    await running.agent(ScriptedAgent("other/0"))
    names = [f"m{number}" for number in range(8)]
    documents = [model_document(each, artifact, memory=MB, server=None) for each in names]
    for each in documents:
        spec = each["spec"]
        assert isinstance(spec, dict)
        del spec["server"]
    await applied(running, *documents)
    held = [each for each in names if await seat(running, each) == "mlserver"]
    found = await warnings(running, "DELETE", "/servers/mlserver")
    homeless = [each for each in names if await seat(running, each) == ""]
    moved = len(held) - len(homeless)
    assert homeless
    assert moved <= 2
    assert found[0].startswith(
        f"{len(held)} models lose their place on mlserver; {len(homeless)} of them find no other"
    )
    assert await warnings(running, "DELETE", "/servers/other") != []


async def test_making_a_server_smaller_says_which_models_lose_their_place(
    running: Harness, artifact: Path
) -> None:
    await running.agent(ScriptedAgent("mlserver/0"))
    names = [f"m{number}" for number in range(8)]
    await applied(running, *(model_document(each, artifact, memory=MB) for each in names))
    assert [await seat(running, each) for each in names] == ["mlserver"] * 8
    smaller = server_document(memory="2M", overcommitPercentage=0)
    answer = await running.http.post("/api/v1/apply", json={"documents": [smaller]})
    (result,) = answer.json()["results"]
    # The agent has to let go of them first.
    homeless: list[str] = []
    async with asyncio.timeout(10):
        while len(homeless) < 6:
            homeless = [each for each in names if await seat(running, each) == ""]
    assert len(homeless) == 6
    assert result["warnings"] == [
        "6 models lose their place on mlserver; 6 of them find no other and wait for a Server that "
        f"takes them: {', '.join(homeless[:5])} and 1 more"
    ]
    again = await running.http.post("/api/v1/apply", json={"documents": [smaller]})
    assert again.json()["results"][0]["warnings"] == [], "nobody loses anything more"


async def test_deleting_a_server_names_also_those_that_have_another_place(
    running: Harness, artifact: Path
) -> None:
    await running.agent(ScriptedAgent("mlserver/0"))
    await applied(running, model_document("m", artifact, memory=MB))
    assert await seat(running, "m") == "mlserver"
    await running.apply(server_document("other", memory="2M"))
    await running.agent(ScriptedAgent("other/0"))
    found = await warnings(running, "DELETE", "/servers/mlserver")
    assert found[0] == "1 model loses its place on mlserver, and has another: m"


async def seat(running: Harness, name: str) -> str:
    answer = (await running.http.get(f"/api/v1/models/{name}")).json()
    replicas = answer["status"]["replicas"]
    return str(replicas[0]["server"]) if replicas else ""
