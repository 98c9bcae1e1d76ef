"""AgentService over a real gRPC server on a socket: outcomes, and gateways that come and go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from overbook.agent.commands import Commands
from overbook.agent.service import AgentService, outcome_of
from overbook.metrics import REGISTRY
from overbook.residency.effects import Refusal
from overbook.residency.events import ModelName
from overbook.residency.states import State
from overbook.wire import agent_pb2 as pb
from overbook.wire import agent_pb2_grpc
from overbook.wire.outcomes import Outcome
from tests.fakes.fake_server import Script
from tests.unit.agent.world import MB, A, B, World, spec, world

_NO_ROOM = {"outcome": "no room"}


@contextlib.asynccontextmanager
async def served(made: World, folder: Path) -> AsyncIterator[agent_pb2_grpc.AgentServiceAsyncStub]:
    server = grpc.aio.server()
    commands = Commands(made.actor, made.assignments)
    service = AgentService(made.assignments, made.actor.followers, commands)
    agent_pb2_grpc.add_AgentServiceServicer_to_server(service, server)
    target = f"unix:{folder}/agent.sock"
    server.add_insecure_port(target)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(target) as channel:
            yield agent_pb2_grpc.AgentServiceStub(channel)
    finally:
        await server.stop(0)


async def _hear(call: object, kind: str) -> pb.AgentToGateway:
    """The next message of that kind."""
    while True:
        message = await asyncio.wait_for(call.read(), 5)  # type: ignore[attr-defined]  # a stream
        assert isinstance(message, pb.AgentToGateway)
        if message.WhichOneof("message") == kind:
            return message


async def _state(made: World, name: str, state: State) -> None:
    async with asyncio.timeout(5):
        while made.state(name) is not state:  # noqa: ASYNC110 - real gRPC, nothing to wait on
            await asyncio.sleep(0.001)


async def test_outcomes(tmp_path: Path) -> None:
    async with world() as made, served(made, tmp_path) as stub:
        made.server.scripts[B] = Script(fail="bad pickle")
        await made.assign(spec(A), spec(B))
        reply = await stub.Activate(pb.ActivateRequest(model=A, timeout_seconds=5))
        assert reply.outcome == pb.ActivateReply.RESIDENT
        reply = await stub.Activate(pb.ActivateRequest(model=B, timeout_seconds=5))
        assert (reply.outcome, reply.reason) == (pb.ActivateReply.LOAD_FAILED, "bad pickle")
        reply = await stub.Activate(pb.ActivateRequest(model="stranger"))
        assert reply.outcome == pb.ActivateReply.NOT_ASSIGNED


async def test_a_person_who_wants_a_model_has_it_tried_again_at_once(tmp_path: Path) -> None:
    async with world() as made, served(made, tmp_path) as stub:
        made.server.scripts[B] = Script(fail="bad pickle")
        await made.assign(spec(B))
        for again, loads in ((False, 1), (True, 2)):
            request = pb.ActivateRequest(model=B, timeout_seconds=5, again=again)
            reply = await stub.Activate(request)
            assert reply.outcome == pb.ActivateReply.LOAD_FAILED
            assert made.server.loads == [B] * loads


async def test_evict_waits_until_the_model_is_cold(tmp_path: Path) -> None:
    async with world() as made, served(made, tmp_path) as stub:
        await made.assign(spec(A), spec(B, pinned=True))
        reply = await stub.Evict(pb.EvictRequest(model=A, timeout_seconds=5))
        assert (reply.reason, reply.refused) == ("", False)
        assert made.state(A) is State.COLD
        reply = await stub.Evict(pb.EvictRequest(model=B))
        assert reply.refused
        assert "`overbook unpin b` first" in reply.reason
        reply = await stub.Evict(pb.EvictRequest(model="stranger"))
        assert "not on this server replica" in reply.reason
        assert not reply.refused


async def test_no_room_beside_pinned_models_has_a_name_of_its_own(tmp_path: Path) -> None:
    async with world(budget=3 * MB) as made, served(made, tmp_path) as stub:
        await made.assign(spec(A, memory=2 * MB, pinned=True), spec(B, memory=2 * MB))
        before = REGISTRY.get_sample_value("overbook_refused_requests_total", _NO_ROOM)
        await stub.Activate(pb.ActivateRequest(model=A, timeout_seconds=5))
        reply = await stub.Activate(pb.ActivateRequest(model=B, timeout_seconds=5))
        assert reply.outcome == pb.ActivateReply.NO_ROOM
        assert "pinned models hold" in reply.reason
        assert reply.retry_after_seconds == 0
        after = REGISTRY.get_sample_value("overbook_refused_requests_total", _NO_ROOM)
        assert after == before, "gateways count requests"


def test_every_refusal_has_an_outcome_and_every_outcome_is_the_protocols() -> None:
    outcomes = {outcome_of(refusal) for refusal in (None, *Refusal)}
    assert outcomes == set(Outcome) - {Outcome.UNAVAILABLE}
    unspecified = pb.ActivateReply.OUTCOME_UNSPECIFIED
    assert {each.value for each in Outcome} == set(pb.ActivateReply.Outcome.values()) - {
        unspecified
    }


async def test_an_agent_that_stopped_says_unavailable(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with world() as made:
            stub = await stack.enter_async_context(served(made, tmp_path))
            await made.assign(spec(A))
        reply = await stub.Activate(pb.ActivateRequest(model=A, timeout_seconds=5))
        assert reply.outcome == pb.ActivateReply.UNAVAILABLE


async def test_metadata_without_loading(tmp_path: Path) -> None:
    async with world(server_up=False) as made, served(made, tmp_path) as stub:
        await made.assign(spec(A))
        reply = await stub.Metadata(pb.MetadataRequest(model=A))
        assert reply.found
        assert '"name": "a"' in reply.json
        assert not (await stub.Metadata(pb.MetadataRequest(model="stranger"))).found


async def test_a_gateway_that_withdraws_lets_the_model_go(tmp_path: Path) -> None:
    async with world() as made, served(made, tmp_path) as stub:
        await made.assign(spec(A))
        call = stub.Follow()
        await call.write(pb.GatewayToAgent(hello=pb.GatewayHello(gateway="one")))
        assert (await _hear(call, "address")).address.epoch == 1
        assert list((await _hear(call, "hot")).hot.models) == [A]
        made.actor.evict(ModelName(A))
        ticket = (await _hear(call, "withdraw")).withdraw.ticket
        assert made.state(A) is State.DRAINING
        withdrawn = pb.Withdrawn(model=A, ticket=ticket)
        await call.write(pb.GatewayToAgent(withdrawn=withdrawn))
        await _state(made, A, State.COLD)
        call.cancel()


async def test_what_a_gateway_was_granted_stays_until_it_says_passed(tmp_path: Path) -> None:
    async with world() as made, served(made, tmp_path) as stub:
        await made.assign(spec(A))
        call = stub.Follow()
        await call.write(pb.GatewayToAgent(hello=pb.GatewayHello(gateway="one")))
        await _hear(call, "hot")
        asked = pb.ActivateRequest(model=A, timeout_seconds=5, gateway="one", call=7)
        assert (await stub.Activate(asked)).outcome == pb.ActivateReply.RESIDENT
        made.actor.evict(ModelName(A))
        ticket = (await _hear(call, "withdraw")).withdraw.ticket
        withdrawn = pb.Withdrawn(model=A, ticket=ticket, granted=3, epoch=1)
        await call.write(pb.GatewayToAgent(withdrawn=withdrawn))
        async with asyncio.timeout(5):
            while made.actor.followers.passed_on(ModelName(A)) != {"one": 3}:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert made.state(A) is State.DRAINING
        passed = pb.Passed(model=A, calls=[7], granted=4, epoch=1)
        await call.write(pb.GatewayToAgent(passed=passed))
        await _state(made, A, State.COLD)
        assert made.actor.followers.passed_on(ModelName(A)) == {"one": 4}
        call.cancel()


@pytest.mark.parametrize("end", ["cancel", "done", "channel"])
async def test_no_drain_waits_for_a_gateway_that_is_gone(tmp_path: Path, end: str) -> None:
    async with world(budget=MB) as made, served(made, tmp_path) as stub:
        await made.assign(spec(A))
        await made.assign(spec(B))
        channel = grpc.aio.insecure_channel(f"unix:{tmp_path}/agent.sock")
        call = agent_pb2_grpc.AgentServiceStub(channel).Follow()
        await call.write(pb.GatewayToAgent(hello=pb.GatewayHello(gateway="one")))
        usage = pb.ModelUsage(model=A, in_flight=1, requests=1)
        await _hear(call, "hot")
        await call.write(pb.GatewayToAgent(usage=pb.UsageReport(models=[usage])))
        async with asyncio.timeout(5):
            while made.report(A).in_flight != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        made.actor.evict(ModelName(A))
        await _hear(call, "withdraw")
        if end == "cancel":
            call.cancel()
        elif end == "done":
            await call.done_writing()
        else:
            await channel.close()
        reply = await stub.Activate(pb.ActivateRequest(model=B, timeout_seconds=5))
        assert reply.outcome == pb.ActivateReply.RESIDENT
        assert made.state(A) is State.COLD
        await channel.close()


async def test_a_stream_without_hello_is_refused(tmp_path: Path) -> None:
    async with world() as made, served(made, tmp_path) as stub:
        call = stub.Follow()
        await call.write(pb.GatewayToAgent(usage=pb.UsageReport()))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call.read()
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_activation_whose_caller_left_loads_for_nobody(tmp_path: Path) -> None:
    async with world(server_up=False) as made, served(made, tmp_path) as stub:
        await made.assign(spec(A))
        call = stub.Activate(pb.ActivateRequest(model=A, timeout_seconds=50))
        async with asyncio.timeout(5):
            while not made.actor.statistics().waiting:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            call.cancel()
            while made.actor.statistics().waiting:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
