"""The stream to the scheduler: everything told anew on every connection, nothing lost to one that is gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import grpc.aio
import pytest

from overbook.agent.clock import Clock
from overbook.agent.link import LinkHandlers, Session
from overbook.agent.notices import Notices
from overbook.wire import scheduler_pb2 as pb
from tests.unit.agent.virtual_time import in_virtual_time, settle

HELLO = pb.AgentHello(runtime="mlserver")


class Lost(grpc.aio.AioRpcError):
    def __init__(self) -> None:
        nothing = grpc.aio.Metadata()
        super().__init__(grpc.StatusCode.UNAVAILABLE, nothing, nothing, "socket closed")


@dataclass(slots=True)
class FakeStream:
    """What the scheduler would see. ``broken``: every call fails from now on."""

    told: list[pb.AgentToScheduler] = field(default_factory=list)
    inbox: asyncio.Queue[object] = field(default_factory=asyncio.Queue)
    broken: bool = False
    cancelled: bool = False

    async def read(self) -> object:
        message = await self.inbox.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def write(self, message: pb.AgentToScheduler) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise asyncio.InvalidStateError("RPC already finished")
        self.told.append(message)

    def cancel(self) -> bool:
        self.cancelled = True
        return True

    def lose(self) -> None:
        self.broken = True
        self.inbox.put_nowait(Lost())

    def statuses(self) -> list[pb.StatusReport]:
        return [each.status for each in self.told if each.HasField("status")]

    def models(self) -> list[str]:
        return [model.name for status in self.statuses() for model in status.models]

    def gone(self) -> list[str]:
        return [name for status in self.statuses() for name in status.gone]

    def events(self) -> list[str]:
        return [each.event.reason for each in self.told if each.HasField("event")]

    def results(self) -> list[pb.CommandResult]:
        return [each.command_result for each in self.told if each.HasField("command_result")]


class Agent:
    """The rest of the agent, as the link sees it."""

    def __init__(self) -> None:
        self.notices = Notices("mlserver", 0, Clock())
        self.models: list[str] = []
        self.updates: list[pb.AssignmentUpdate] = []
        self.budgets: list[int] = []
        self.secrets: list[pb.Secrets] = []
        self.commands: dict[int, asyncio.Future[str]] = {}
        self.handlers = LinkHandlers(
            assignments=self.updates.append,
            command=self._command,
            secrets=self.secrets.append,
            look=self._look,
            read_log=self._read_log,
            configure=lambda told: self.budgets.append(told.memory_bytes),
            model_report=self._report,
            server_report=lambda: pb.ServerReport(budget_bytes=1),
            all_models=lambda: list(self.models),
        )

    def _report(self, name: str) -> pb.ModelReport | None:
        return pb.ModelReport(name=name) if name in self.models else None

    async def _command(self, command: pb.Command) -> str:
        self.commands[command.id] = asyncio.get_running_loop().create_future()
        return await self.commands[command.id]

    async def _look(self, asked: pb.Look) -> pb.Surveys:
        found = [
            pb.ArtifactSurvey(error=f"nothing at {each.storage_uri}") for each in asked.artifacts
        ]
        return pb.Surveys(id=asked.id, artifacts=found)

    async def _read_log(self, asked: pb.ReadLog) -> pb.LogPiece:
        return pb.LogPiece(id=asked.id, text=f"after {asked.after}".encode())

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[FakeStream, asyncio.Task[str]]]:
        stream = FakeStream()
        session = Session(stream, HELLO, self.notices, self.handlers)
        task = asyncio.create_task(session.run())
        await settle()
        try:
            yield stream, task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert stream.cancelled


@in_virtual_time
async def test_a_session_begins_with_hello_and_everything() -> None:
    agent = Agent()
    agent.models = ["a", "b"]
    async with agent.connected() as (stream, _):
        assert stream.told[0].hello == HELLO
        assert stream.models() == ["a", "b"]
        assert stream.statuses()[-1].server.budget_bytes == 1
    async with agent.connected() as (stream, _):
        assert stream.models() == ["a", "b"]
        assert stream.statuses()[-1].HasField("server")


@in_virtual_time
async def test_changes_follow_soon_and_usage_alone_at_its_own_pace() -> None:
    agent = Agent()
    agent.models = ["a", "b"]
    async with agent.connected() as (stream, _):
        stream.told.clear()
        agent.notices.used("b")
        agent.notices.changed("a")
        await asyncio.sleep(0.3)
        assert stream.models() == ["a"]
        await asyncio.sleep(1.0)
        assert stream.models() == ["a", "b"]


@in_virtual_time
async def test_nothing_new_is_nothing_said() -> None:
    agent = Agent()
    agent.models = ["a"]
    async with agent.connected() as (stream, _):
        stream.told.clear()
        await asyncio.sleep(30)
        assert stream.told == []


@in_virtual_time
async def test_what_the_scheduler_says_is_handed_on() -> None:
    agent = Agent()
    async with agent.connected() as (stream, _):
        update = pb.AssignmentUpdate(reset=True, complete=True)
        stream.inbox.put_nowait(pb.SchedulerToAgent(assignments=update))
        configure = pb.Configure(memory_bytes=7, eviction_policy="lru")
        stream.inbox.put_nowait(pb.SchedulerToAgent(configure=configure))
        await settle()
        assert (agent.updates, agent.budgets) == ([update], [7])


@in_virtual_time
async def test_the_scheduler_hears_at_once_what_is_in_force() -> None:
    """People wait for it. Of a sync in pieces the last one says its number."""
    agent = Agent()
    async with agent.connected() as (stream, _):
        stream.told.clear()
        for update in (
            pb.AssignmentUpdate(reset=True),
            pb.AssignmentUpdate(complete=True, revision=3),
            pb.AssignmentUpdate(revision=4),
        ):
            stream.inbox.put_nowait(pb.SchedulerToAgent(assignments=update))
        before = asyncio.get_running_loop().time()
        await settle()
        assert [each.heard for each in stream.told if each.HasField("heard")][-1] == 4
        assert asyncio.get_running_loop().time() == before
        assert len(agent.updates) == 3


@in_virtual_time
async def test_commands_run_side_by_side_and_answer_at_once() -> None:
    agent = Agent()
    async with agent.connected() as (stream, _):
        for number in (1, 2):
            command = pb.Command(id=number, kind=pb.Command.EVICT, model="a")
            stream.inbox.put_nowait(pb.SchedulerToAgent(command=command))
        await settle()
        agent.commands[2].set_result("in use")
        await settle()
        agent.notices.changed("a")
        await settle()
        agent.commands[1].set_result("")
        await settle()
        answers = [(each.id, each.ok, each.reason) for each in stream.results()]
        assert answers == [(2, False, "in use"), (1, True, "")]


@in_virtual_time
async def test_changes_are_gathered_also_after_an_answer() -> None:
    agent = Agent()
    agent.models = ["a", "b"]
    async with agent.connected() as (stream, _):
        command = pb.Command(id=1, kind=pb.Command.EVICT, model="a")
        stream.inbox.put_nowait(pb.SchedulerToAgent(command=command))
        await settle()
        agent.commands[1].set_result("")
        await asyncio.sleep(1)
        stream.told.clear()
        for _ in range(20):
            agent.notices.changed("b")
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        assert 1 < len(stream.statuses()) < 5


@in_virtual_time
async def test_a_lost_stream_ends_the_session_with_the_reason() -> None:
    async with Agent().connected() as (stream, task):
        stream.lose()
        assert await task == "UNAVAILABLE: socket closed"


@in_virtual_time
async def test_a_stream_closed_by_the_scheduler_ends_the_session() -> None:
    async with Agent().connected() as (stream, task):
        stream.inbox.put_nowait(grpc.aio.EOF)
        assert await task == "the scheduler closed the stream"


@in_virtual_time
async def test_a_command_of_a_lost_session_answers_nobody_in_the_next() -> None:
    agent = Agent()
    async with agent.connected() as (stream, task):
        command = pb.Command(id=1, kind=pb.Command.EVICT, model="a")
        stream.inbox.put_nowait(pb.SchedulerToAgent(command=command))
        await settle()
        stream.lose()
        await task
        assert agent.commands[1].cancelled()
    async with agent.connected() as (stream, _):
        # A new scheduler counts its commands from one again.
        await asyncio.sleep(5)
        assert stream.results() == []


@in_virtual_time
async def test_what_a_lost_session_did_not_get_to_say_is_said_in_the_next() -> None:
    agent = Agent()
    agent.models = ["a"]
    async with agent.connected() as (stream, task):
        stream.broken = True
        agent.notices.forgotten("a")  # and assigned again since
        agent.notices.forgotten("b")
        await asyncio.sleep(2)
        assert task.done()
    assert agent.notices.gone == {"b"}
    async with agent.connected() as (stream, task):
        assert stream.gone() == ["b"]
        assert stream.models() == ["a"]
        stream.broken = True
        agent.notices.server_event("ServerDied", "signal 9")
        await asyncio.sleep(2)
        assert task.done()
    async with agent.connected() as (stream, _):
        assert stream.events() == ["ServerDied"]


@in_virtual_time
async def test_nothing_is_taken_by_a_session_that_is_over() -> None:
    agent = Agent()
    agent.models = ["a"]
    async with agent.connected() as (stream, task):
        stream.inbox.put_nowait(grpc.aio.EOF)
        await task
        agent.notices.server_event("ServerReady", "up")
        agent.notices.changed("a")
        await asyncio.sleep(2)
        assert list(agent.notices.dirty) == ["a"]
        assert len(agent.notices.events) == 1


@in_virtual_time
async def test_what_is_at_an_address_is_told_while_a_command_waits() -> None:
    agent = Agent()
    async with agent.connected() as (stream, _):
        stream.inbox.put_nowait(pb.SchedulerToAgent(command=pb.Command(id=1)))
        artifacts = [pb.Artifact(storage_uri="/a"), pb.Artifact(storage_uri="/b")]
        stream.inbox.put_nowait(pb.SchedulerToAgent(look=pb.Look(id=2, artifacts=artifacts)))
        await settle()
        told = [each.surveys for each in stream.told if each.HasField("surveys")]
        assert [(each.id, [one.error for one in each.artifacts]) for each in told] == [
            (2, ["nothing at /a", "nothing at /b"])
        ]
        assert not stream.results()


@in_virtual_time
async def test_secrets_are_handed_on_each_time_they_are_told() -> None:
    agent = Agent()
    async with agent.connected() as (stream, _):
        told = [pb.Secrets(), pb.Secrets(secrets=[pb.Secret(name="minio", type="s3")])]
        for each in told:
            stream.inbox.put_nowait(pb.SchedulerToAgent(secrets=each))
        await settle()
        assert agent.secrets == told


@in_virtual_time
async def test_many_models_go_in_pieces() -> None:
    agent = Agent()
    agent.models = [f"m{number:05}" for number in range(2_500)]
    async with agent.connected() as (stream, _):
        await settle()
        assert stream.models() == agent.models
        assert max(len(status.models) for status in stream.statuses()) == 1000


@in_virtual_time
async def test_a_fault_of_the_agent_itself_is_not_taken_for_a_lost_stream() -> None:
    agent = Agent()

    def broken(update: pb.AssignmentUpdate) -> None:
        raise RuntimeError("a bug")

    stream = FakeStream()
    handlers = LinkHandlers(
        assignments=broken,
        command=agent.handlers.command,
        secrets=agent.handlers.secrets,
        look=agent.handlers.look,
        read_log=agent.handlers.read_log,
        configure=agent.handlers.configure,
        model_report=agent.handlers.model_report,
        server_report=agent.handlers.server_report,
        all_models=agent.handlers.all_models,
    )
    stream.inbox.put_nowait(pb.SchedulerToAgent(assignments=pb.AssignmentUpdate()))
    with pytest.raises(ExceptionGroup) as raised:
        await Session(stream, HELLO, agent.notices, handlers).run()
    assert raised.group_contains(RuntimeError, match="a bug")


@in_virtual_time
async def test_a_scheduler_that_is_away_costs_no_memory() -> None:
    notices = Notices("mlserver", 0, Clock())
    for number in range(5000):
        notices.server_event("ServerDied", str(number))
    assert len(notices.events) == 1000
    assert notices.events[-1].message == "4999"


@in_virtual_time
async def test_a_question_about_the_log_is_answered() -> None:
    agent = Agent()
    async with agent.connected() as (stream, _):
        stream.inbox.put_nowait(pb.SchedulerToAgent(read_log=pb.ReadLog(id=3, after="here")))
        await settle()
        [piece] = [each.log for each in stream.told if each.HasField("log")]
        assert (piece.id, piece.text) == (3, b"after here")
