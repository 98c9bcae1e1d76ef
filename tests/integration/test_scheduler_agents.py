"""The scheduler with scripted agents and a gateway's watch, over real gRPC."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import grpc.aio
import pytest

from overbook.wire import scheduler_pb2 as pb
from overbook.wire import scheduler_pb2_grpc
from overbook.wire.channel import CHANNEL_OPTIONS, SYNC_CHUNK
from tests.integration.scheduler_harness import (
    MB,
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


async def test_from_apply_to_available_and_gone(tmp_path: Path, artifact: Path) -> None:
    async with harness(tmp_path) as running:
        gateway = await running.gateway()
        await running.apply(
            server_document(), model_document("iris", artifact, requirements=["sklearn"])
        )
        assert await running.reason("iris") == "ModelProgressing"
        agent = ScriptedAgent("mlserver/0")
        await running.agent(agent)
        await running.until_reason("iris", "ModelAvailable")
        told = agent.assigned["iris"]
        assert (told.storage_uri, told.memory_bytes, list(told.requirements)) == (
            str(artifact),
            MB,
            ["sklearn"],
        )
        assert told.fingerprint
        await until("the gateway knows", lambda: gateway.models == {"iris": ["mlserver/0"]})
        assert gateway.targets == {"mlserver/0": "unix:/agent-0"}
        assert (await running.http.delete("/api/v1/models/iris")).json() == {"warnings": []}
        await until("the gateway forgot", lambda: gateway.models == {})
        await running.until_reason("iris", "404")
        assert agent.assigned == {}


async def test_gateways_forget_a_model_before_its_agent_does(
    tmp_path: Path, artifact: Path
) -> None:
    async with harness(tmp_path) as running:
        agent = ScriptedAgent("mlserver/0")
        agent.gone_at_once = False
        await running.apply(server_document(), model_document("iris", artifact))
        await running.agent(agent)
        gateway = await running.gateway()
        await until("assigned", lambda: "iris" in agent.assigned)
        seen_by_gateway_when_revoked: list[dict[str, list[str]]] = []
        take = agent._assign

        def noting(update: pb.AssignmentUpdate) -> None:
            if "iris" in update.revoked:
                seen_by_gateway_when_revoked.append(dict(gateway.models))
            take(update)

        agent._assign = noting  # type: ignore[method-assign]  # a spy on the script
        await running.http.delete("/api/v1/models/iris")
        await until("revoked", lambda: bool(seen_by_gateway_when_revoked))
        assert seen_by_gateway_when_revoked == [{}]
        assert await running.reason("iris") == "ModelTerminating"
        agent.say_gone("iris")
        await running.until_reason("iris", "404")


async def test_a_restarted_scheduler_knows_everything_and_resyncs(
    tmp_path: Path, artifact: Path
) -> None:
    agent = ScriptedAgent("mlserver/0")
    async with harness(tmp_path) as running:
        await running.apply(server_document(), model_document("iris", artifact))
        await running.agent(agent)
        await running.until_reason("iris", "ModelAvailable")
        await running.http.post("/api/v1/models/iris/pin")
        await until("pinned", lambda: agent.assigned["iris"].pinned)
    async with harness(tmp_path) as running:
        assert await running.reason("iris") == "ModelProgressing"
        await running.agent(agent)
        await running.until_reason("iris", "ModelAvailable")
        assert agent.assigned["iris"].pinned
        assert agent.assigned["iris"].generation == 2
        assert (await running.apply(model_document("iris", artifact)))[0]["action"] == "unchanged"


async def test_a_sync_of_many_comes_in_chunks(tmp_path: Path, artifact: Path) -> None:
    names = [f"m{number}" for number in range(2 * SYNC_CHUNK + 1)]
    async with harness(tmp_path) as running:
        results = await running.apply(
            server_document(), *(model_document(name, artifact, memory=1) for name in names)
        )
        assert {(each["action"], each["error"]) for each in results} == {("created", None)}
        agent = ScriptedAgent("mlserver/0")
        await running.agent(agent)
        await until("all assigned", lambda: len(agent.assigned) == len(names))
        updates = [each.assignments for each in agent.log if each.HasField("assignments")]
        assert updates[0].reset
        assert max(len(each.assigned) for each in updates) <= SYNC_CHUNK
        gateway = await running.gateway()
        assert len(gateway.models) == len(names)


async def test_a_move_to_another_server_has_no_gap(tmp_path: Path, artifact: Path) -> None:
    async with harness(tmp_path) as running:
        old, new = ScriptedAgent("a/0"), ScriptedAgent("b/0")
        new.available = False
        await running.apply(server_document("a"), server_document("b"))
        await running.agent(old)
        await running.agent(new)
        gateway = await running.gateway()
        await running.apply(model_document("iris", artifact, server="a"))
        await until("on a", lambda: gateway.models == {"iris": ["a/0"]})
        await running.until_reason("iris", "ModelAvailable")
        await running.apply(model_document("iris", artifact, server="b"))
        await until("told to b", lambda: "iris" in new.assigned)
        assert "iris" in old.assigned
        assert gateway.models == {"iris": ["a/0"]}
        new.report("iris")
        await until("routed to b", lambda: gateway.models == {"iris": ["b/0"]})
        await until("a let go", lambda: "iris" not in old.assigned)
        await running.until_reason("iris", "ModelAvailable")


async def test_a_newer_session_of_a_replica_ends_the_older(tmp_path: Path) -> None:
    async with harness(tmp_path) as running:
        await running.apply(server_document())
        older, newer = ScriptedAgent("mlserver/0"), ScriptedAgent("mlserver/0")
        await running.agent(older)
        await running.agent(newer)
        async with asyncio.timeout(5):
            await older.closed.wait()
        newer.report_server(state="ready", pid=7)

        async def ready() -> bool:
            server = (await running.http.get("/api/v1/servers/mlserver")).json()
            return bool(server["status"]["conditions"][0]["status"] == "True")

        await until("the newer one speaks for the replica", ready)


async def test_an_agent_that_goes_away_is_seen(tmp_path: Path, artifact: Path) -> None:
    async with harness(tmp_path) as running:
        agent = ScriptedAgent("mlserver/0")
        await running.apply(server_document(), model_document("iris", artifact))
        task = await running.agent(agent)
        await running.until_reason("iris", "ModelAvailable")
        task.cancel()
        await running.until_reason("iris", "ModelProgressing")
        replicas = (await running.http.get("/api/v1/models/iris")).json()["status"]["replicas"]
        assert [each["replica"] for each in replicas] == [0]


async def test_a_changed_budget_reaches_the_agent_and_the_supervisor(tmp_path: Path) -> None:
    async with (
        harness(tmp_path) as running,
        grpc.aio.insecure_channel(
            running.scheduler.grpc_target, options=CHANNEL_OPTIONS
        ) as channel,
    ):
        agent = ScriptedAgent("mlserver/0")
        await running.apply(server_document())
        await running.agent(agent)
        stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
        lists = aiter(stub.WatchServers(pb.WatchServersRequest(machine="test")))
        first = await anext(lists)
        assert [(each.name, each.memory_bytes) for each in first.servers] == [("mlserver", 10 * MB)]
        await running.apply(server_document(memory="20M", replicas=2, extraCapabilities=["x"]))
        await until("configured", lambda: agent.memory == 20 * MB)
        spec = (await anext(lists)).servers[0]
        assert (spec.replicas, spec.memory_bytes, spec.overcommit_percent) == (2, 20 * MB, 20)
        assert (spec.runtime, list(spec.extra_capabilities)) == ("mlserver", ["x"])


async def test_commands_and_their_answers(tmp_path: Path, artifact: Path) -> None:
    async with harness(tmp_path) as running:
        agent = ScriptedAgent("mlserver/0")
        await running.apply(server_document(), model_document("iris", artifact))
        url = "/api/v1/models/iris"
        away = await running.http.post(f"{url}/activate")
        assert away.status_code == 503
        assert "iris" in away.json()["error"]
        await running.agent(agent)
        await until("assigned", lambda: "iris" in agent.assigned)
        assert (await running.http.post(f"{url}/activate", json={"timeout": 5})).json() == {
            "warnings": []
        }
        assert agent.log[-1].command.kind == pb.Command.ACTIVATE
        assert agent.log[-1].command.timeout_seconds == 5
        agent.command_reason = "it is pinned"
        refused = await running.http.post(f"{url}/evict")
        assert (refused.status_code, refused.json()) == (409, {"error": "it is pinned"})
        failed = await running.http.post(f"{url}/activate")
        assert (failed.status_code, failed.json()) == (503, {"error": "it is pinned"})
        agent.command_reason = None
        slow = await running.http.post(f"{url}/evict", json={"timeout": 0.05})
        assert slow.status_code == 503
        assert "mlserver/0 gave no answer within 0.05 s" in slow.json()["error"]
        assert (await running.http.post("/api/v1/models/who/evict")).status_code == 404


async def test_events_of_agents_and_of_the_scheduler(tmp_path: Path, artifact: Path) -> None:
    async with harness(tmp_path) as running:
        agent = ScriptedAgent("mlserver/0")
        await running.apply(server_document())
        await running.agent(agent)
        last = (await running.http.get("/api/v1/events")).json()["last"]
        waiting = asyncio.create_task(
            running.http.get(f"/api/v1/events?after={last}&wait=20&model=iris")
        )
        await running.apply(model_document("iris", artifact))
        found = (await waiting).json()["events"]
        assert [each["reason"] for each in found][:2] == ["ModelRegistered", "ModelPlaced"]
        agent.say_event("ModelEvicted", "iris", "room for another")

        async def told() -> bool:
            events = (await running.http.get("/api/v1/events?model=iris")).json()["events"]
            return any(
                (each["reason"], each["replica"]) == ("ModelEvicted", "mlserver/0")
                for each in events
            )

        await until("the agent's event is there", told)


@pytest.mark.parametrize(
    "message",
    [
        pb.AgentToScheduler(status=pb.StatusReport()),
        pb.AgentToScheduler(hello=pb.AgentHello(runtime="mlserver")),
    ],
)
async def test_a_session_without_a_hello_is_refused(
    tmp_path: Path, message: pb.AgentToScheduler
) -> None:
    async with (
        harness(tmp_path) as running,
        grpc.aio.insecure_channel(
            running.scheduler.grpc_target, options=CHANNEL_OPTIONS
        ) as channel,
    ):
        call = scheduler_pb2_grpc.SchedulerServiceStub(channel).AgentSession(iter([message]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_scheduler_without_the_files_asks_who_has_them(
    tmp_path: Path, artifact: Path
) -> None:
    async with harness(tmp_path, look=None) as running:
        nowhere = tmp_path / "nowhere"
        results = await running.apply(
            server_document(replicas=2),
            model_document("iris", artifact, memory=None),
            model_document("missing", nowhere),
        )
        assert [each["action"] for each in results] == ["created"] * 3
        assert [each["error"] for each in results] == [None] * 3
        assert "no agent is connected to look" in str(results[1]["warnings"])
        assert await running.reason("iris") == await running.reason("missing")
        assert await running.reason("iris") == "ModelProgressing"
        agent = ScriptedAgent("mlserver/0")
        await running.agent(agent)
        await running.until_reason("iris", "ModelAvailable")
        assert agent.assigned["iris"].fingerprint
        await running.until_reason("missing", "ScheduleFailed")
        described = (await running.http.get("/api/v1/models/missing")).json()
        message = described["status"]["conditions"][0]["message"]
        assert message.startswith(f"spec.storageUri: '{nowhere}' does not exist")
        (refused,) = await running.apply(model_document("other", nowhere))
        assert (refused["action"], refused["error"]) == ("failed", message)
        nowhere.mkdir()
        (nowhere / "model.joblib").write_bytes(b"x")
        assert (await running.apply(model_document("missing", nowhere)))[0]["action"] == (
            "configured"
        )
        await running.until_reason("missing", "ModelAvailable")


async def test_one_agent_of_each_machine_is_asked(tmp_path: Path, artifact: Path) -> None:
    async with harness(tmp_path, look=None) as running:
        await running.apply(server_document(replicas=3))
        agents = [ScriptedAgent(f"mlserver/{number}") for number in range(3)]
        agents[2].machine = "there"
        for agent in agents:
            await running.agent(agent)
        await running.apply(model_document("iris", artifact))

        def asked(agent: ScriptedAgent) -> int:
            return sum(each.HasField("look") for each in agent.log)

        assert sorted(map(asked, agents)) == [0, 1, 1]
        assert asked(agents[2]) == 1


async def test_an_agent_that_goes_while_it_looks_is_waited_for(
    tmp_path: Path, artifact: Path
) -> None:
    async with harness(tmp_path, look=None) as running:
        await running.apply(server_document())
        agent = ScriptedAgent("mlserver/0")
        agent.looks = False
        session = await running.agent(agent)
        applying = asyncio.create_task(running.apply(model_document("iris", artifact)))
        await until("it was asked", lambda: any(each.HasField("look") for each in agent.log))
        session.cancel()
        (result,) = await applying
        assert (result["action"], result["error"]) == ("created", None)
        agent.looks = True
        await running.agent(agent)
        await running.until_reason("iris", "ModelAvailable")
