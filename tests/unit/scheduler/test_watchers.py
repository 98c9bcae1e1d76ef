"""What watchers and agents have not been told yet, and who waits for them to be told."""

from __future__ import annotations

import asyncio

import pytest

from overbook.placement import ReplicaId
from overbook.scheduler import links, watchers
from overbook.scheduler.errors import Unavailable
from overbook.scheduler.hearing import Hearing
from overbook.scheduler.links import Link, Links, Outcome
from overbook.scheduler.watchers import CatalogueHub, ServersHub
from overbook.wire import scheduler_pb2 as pb

HERE = ReplicaId("mlserver", 0)


def test_a_watcher_holds_names_until_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchers, "MAX_DIRTY", 3)
    hub = CatalogueHub(Hearing(), lambda: 0.0)
    with hub.watching("one") as watch:
        assert watch.reset
        hub.mark(["a"], [])
        assert not watch.models, "the full sync will have it"
        watch.reset = False
        hub.mark(["a", "b"], [HERE])
        hub.mark(["a"], [HERE])
        assert (watch.models, watch.replicas, watch.reset) == ({"a", "b"}, {HERE}, False)
        hub.mark(["c"], [])
        assert (watch.models, watch.replicas, watch.reset) == (set(), set(), True)


def test_a_gateway_is_away_from_the_end_of_its_last_stream_for_a_while() -> None:
    now = [100.0]
    hub = CatalogueHub(Hearing(), lambda: now[0])
    with hub.watching("one"):
        with hub.watching("one"):
            pass
        assert hub.away() == [], "it has connected anew before the old stream ended"
    with hub.watching("two"):
        pass
    assert hub.away() == ["one", "two"]
    with hub.watching("two"):
        assert hub.away() == ["one"]
    now[0] += watchers.AWAY_SECONDS
    assert hub.away() == []


def test_every_change_has_a_number_for_each_watcher() -> None:
    hub = CatalogueHub(Hearing(), lambda: 0.0)
    with hub.watching("one") as one:
        hub.mark(["a"], [])
        with hub.watching("two") as two:
            hub.mark(["b"], [])
            hub.reset()
            assert (one.told, two.told) == (4, 3)
            assert hub.watches == {one, two}


def test_every_watcher_of_servers_is_woken() -> None:
    hub = ServersHub()
    with hub.watching() as wake:
        assert wake.is_set()
        wake.clear()
        hub.mark()
        assert wake.is_set()


def result(ok: bool, reason: str) -> pb.AgentToScheduler:
    return pb.AgentToScheduler(command_result=pb.CommandResult(ok=ok, reason=reason))


async def test_a_command_and_its_result() -> None:
    agents = Links(Hearing())
    link = Link(HERE)
    agents.open(link)
    waiting = asyncio.create_task(agents.command(HERE, pb.Command.EVICT, "iris", 5.0))
    await asyncio.sleep(0)
    command = link.questions.popleft().command
    assert (command.model, command.kind) == ("iris", pb.Command.EVICT)
    agents.answered(link, command.id + 1, result(True, "of another"))
    agents.answered(link, command.id, result(False, "pinned"))
    assert await waiting == Outcome(False, "pinned")
    agents.answered(link, command.id, result(True, "late"))
    assert link.waiting == {}


async def test_a_command_without_an_agent_or_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    agents = Links(Hearing())
    with pytest.raises(Unavailable, match="not connected"):
        await agents.command(HERE, pb.Command.EVICT, "iris", 5.0)
    link = Link(HERE)
    agents.open(link)
    with pytest.raises(Unavailable, match="no answer within -1 s"):
        await agents.command(HERE, pb.Command.EVICT, "iris", -1.0)
    assert link.waiting == {}
    monkeypatch.setattr(links, "MAX_QUESTIONS", 0)
    with pytest.raises(Unavailable, match="commands are waiting"):
        await agents.command(HERE, pb.Command.EVICT, "iris", 5.0)


async def test_a_newer_session_takes_over_and_commands_of_the_older_fail() -> None:
    agents = Links(Hearing())
    older, newer = Link(HERE), Link(HERE)
    agents.open(older)
    waiting = asyncio.create_task(agents.command(HERE, pb.Command.ACTIVATE, "iris", 5.0))
    await asyncio.sleep(0)
    agents.open(newer)
    with pytest.raises(Unavailable, match="went away"):
        await waiting
    assert older.closed
    assert not agents.is_current(older)
    assert not agents.close(older)
    assert agents.is_current(newer)
    agents.mark(HERE, ["iris"])
    assert newer.models == set(), "its full sync is still to come"
    newer.reset = False
    agents.mark(HERE, ["iris"])
    agents.configure(HERE)
    assert (newer.models, newer.configure) == ({"iris"}, True)
    agents.reset()
    assert newer.reset
    assert agents.close(newer)
    agents.mark(HERE, ["iris"])
    agents.configure(HERE)
