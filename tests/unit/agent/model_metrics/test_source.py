"""When the server is asked, what becomes of models that come and go meanwhile, and who is told of what is left out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from overbook import metrics
from overbook.agent.clock import Clock
from overbook.agent.model_metrics import reading, source
from overbook.agent.model_metrics.kept import Room
from overbook.agent.model_metrics.source import ModelMetrics
from overbook.agent.notices import Notices
from overbook.agent.servers.protocol import Exposition, ServerUnreachable
from overbook.metrics.families import Names

LABELS = ("mlserver", "0")


class Server:
    """Shows what the test says. ``gate``: for which it waits."""

    def __init__(self) -> None:
        self.pid: int | None = 1
        self.asked = 0
        self.hears = asyncio.Event()
        self.shows: Exposition | None = Exposition()
        self.fails = False
        self.gate: asyncio.Event | None = None

    async def metrics(self, *, timeout: float) -> Exposition | None:
        self.asked += 1
        self.hears.set()
        shows = self.shows
        if self.gate is not None:
            await self.gate.wait()
        if self.fails:
            raise ServerUnreachable("it hangs")
        return shows


class Hand(Clock):
    """A clock that is set."""

    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> float:
        return self.at


def exposition(**counts: float) -> Exposition:
    texts = {name: f"# TYPE rows counter\nrows {count}\n" for name, count in counts.items()}
    return Exposition(models={name: text.encode() for name, text in texts.items()})


class World:
    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self.server, self.clock, self.names = Server(), Hand(), Names()
        self.notices = Notices(*("mlserver", 0), self.clock)
        self.assigned = {"a", "b"}
        self.source = ModelMetrics(self.notices, self.clock, self.names, room=Room(all=3))
        self.source.of(self.server, lambda: self.assigned)

    async def rows(self) -> dict[str, float]:
        """As they are at a later moment."""
        self.clock.at += 10
        return {
            dict(series.labels)["model"]: series.value
            for family in await self.source.families()
            for series in family.series
        }

    def told(self) -> list[tuple[str, str]]:
        return [(each.model, each.message) for each in self.notices.events]

    def dropped(self, model: str, reason: str) -> float | None:
        return metrics.REGISTRY.get_sample_value(
            "overbook_model_metrics_dropped_total",
            {"server": "mlserver", "replica": "0", "model": model, "reason": reason},
        )


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(monkeypatch)
    yield made
    made.source.close()


async def test_series_bear_the_labels_of_this_house(world: World) -> None:
    shared = b'# TYPE nv_x gauge\nnv_x{gpu_uuid="7"} 1\n'
    world.server.shows = Exposition(models=exposition(a=3).models, shared=shared)
    families = {each.name: each for each in await world.source.families()}
    assert families["rows"].series[0].labels == (
        ("model", "a"),
        ("server", "mlserver"),
        ("replica", "0"),
    )
    assert families["nv_x"].series[0].labels == (
        ("server", "mlserver"),
        ("replica", "0"),
        ("gpu_uuid", "7"),
    )
    up = metrics.REGISTRY.get_sample_value(
        "overbook_server_metrics_up", {"server": "mlserver", "replica": "0"}
    )
    assert up == 1


async def test_one_look_serves_all_who_ask(world: World) -> None:
    world.server.gate, world.server.shows = asyncio.Event(), exposition(a=3)
    asking = [asyncio.create_task(world.source.families()) for _ in range(5)]
    await asyncio.sleep(0)
    asking[0].cancel()  # one that gives up takes the answer from nobody
    world.server.gate.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [len(each) for each in answers if isinstance(each, list)] == [1] * 4
    await world.source.families()
    assert world.server.asked == 1
    await world.rows()
    assert world.server.asked == 2


async def test_counts_go_on_over_evictions_processes_and_silence(world: World) -> None:
    world.server.shows = exposition(a=3, b=1)
    assert await world.rows() == {"a": 3, "b": 1}
    world.source.ended("a", exposition(a=5))
    world.server.shows = exposition(b=2)
    assert await world.rows() == {"a": 5, "b": 2}
    world.server.shows = exposition(a=1, b=2)
    assert await world.rows() == {"a": 6, "b": 2}
    world.server.pid, world.server.shows = 2, exposition(a=4, b=4)
    assert await world.rows() == {"a": 10, "b": 6}
    world.server.fails = True
    assert await world.rows() == {"a": 10, "b": 6}
    up = metrics.REGISTRY.get_sample_value(
        "overbook_server_metrics_up", {"server": "mlserver", "replica": "0"}
    )
    assert up == 0


async def test_a_look_says_nothing_of_who_came_or_left_meanwhile(world: World) -> None:
    world.server.shows = exposition(a=3, b=1)
    await world.rows()
    world.server.gate = asyncio.Event()
    world.server.hears.clear()
    asking = asyncio.create_task(world.rows())
    await world.server.hears.wait()
    world.source.ended("a", exposition(a=5))
    world.source.began("b", exposition(b=1))
    world.server.gate.set()
    assert await asking == {"a": 5, "b": 1}


async def test_a_look_says_nothing_of_another_process(world: World) -> None:
    world.server.shows = exposition(a=3)
    await world.rows()
    world.server.gate, world.server.shows = asyncio.Event(), exposition(a=9)
    world.server.hears.clear()
    asking = asyncio.create_task(world.rows())
    await world.server.hears.wait()
    world.server.gate.set()
    read = reading.read

    def slow(*given: Any) -> reading.Reading:
        world.server.pid = 2  # while the page of the first is read
        return read(*given)

    world.patch.setattr(source, "read", slow)
    assert await asking == {"a": 3}
    world.patch.undo()
    world.server.shows = exposition(a=1)
    assert await world.rows() == {"a": 4}


async def test_many_models_leave_the_event_loop_to_others(world: World) -> None:
    names = [f"m{number}" for number in range(60)]
    world.assigned |= set(names)
    world.server.shows = exposition(**dict.fromkeys(names, 1.0))
    assert await world.rows() == dict.fromkeys(names, 1.0)


async def test_what_a_server_kept_of_an_earlier_life_is_not_counted_again(world: World) -> None:
    world.server.shows = exposition(a=3)
    await world.rows()
    world.source.ended("a", exposition(a=4))
    world.source.began("a", exposition(a=4))
    world.server.shows = exposition(a=6)
    assert await world.rows() == {"a": 6}


async def test_models_that_are_deleted_leave_nothing(world: World) -> None:
    world.server.shows = Exposition(models=exposition(a=3).models, dropped={"a": {"flood": 9}})
    await world.rows()
    assert world.dropped("a", "flood") == 9
    world.assigned.discard("a")
    world.server.shows = Exposition()
    assert await world.rows() == {}
    assert world.dropped("a", "flood") is None
    assert world.names.claim("somebody", "rows", "gauge")
    world.source.ended("a", exposition(a=3))
    assert await world.rows() == {}


async def test_what_is_left_out_is_counted_each_time_and_told_once(world: World) -> None:
    world.names.claim("another", "rows", "gauge")
    world.server.shows = Exposition(models=exposition(a=3).models, dropped={"a": {"flood": 9}})
    assert await world.rows() == {}
    assert await world.rows() == {}
    assert (world.dropped("a", "flood"), world.dropped("a", "clash")) == (18, 2)
    assert world.told() == [
        (
            "a",
            "some of its metrics are left out: more series than the 500 that are shown of one model",
        ),
        (
            "a",
            "some of its metrics are left out: a name is that of another metric, or the same series is there twice",
        ),
    ]


async def test_the_oldest_give_way_where_all_are_too_many(world: World) -> None:
    world.assigned |= {"c", "d", "e"}
    for model in "abcde":
        world.source.ended(model, exposition(**{model: 1}))
    assert await world.rows() == {"c": 1, "d": 1, "e": 1}


async def test_a_server_that_shows_nothing_has_nothing(world: World) -> None:
    world.server.shows = None
    assert await world.rows() == {}


async def test_before_there_is_a_server_there_is_nothing() -> None:
    source = ModelMetrics(Notices("early", 0, Clock()), Clock(), Names())
    assert await source.families() == []
    source.close()


async def test_the_end_of_the_agent_ends_a_look(world: World) -> None:
    world.server.gate = asyncio.Event()
    asking = asyncio.create_task(world.source.families())
    await world.server.hears.wait()
    world.source.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
