"""Contents are weighed once, those in memory first, and nothing that a weighing does stops the others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from overbook.agent.guesses import Guess
from overbook.agent.kinds import ArtifactKind
from overbook.agent.memory.machine import Room
from overbook.agent.memory.sizes import Measurable, Sizes
from overbook.agent.memory.store import SizeStore
from overbook.agent.memory.weigher import Weigher, WeigherPorts
from overbook.agent.servers.protocol import PreparedModel, WeighingFailed, Weight
from tests.unit.agent.virtual_time import in_virtual_time, settle

MB = 1_000_000
FILE = ArtifactKind("pickle:some.Estimator", MB)


class Scale:
    """Answers by script: weights one after the other, or a failure; ``weighed`` has who was asked for."""

    weighs = True

    def __init__(self) -> None:
        self.answers: dict[str, list[Weight | WeighingFailed]] = {}
        self.seconds: dict[str, float] = {}
        self.weighed: list[str] = []

    async def weigh(
        self, model: PreparedModel, *, timeout: float, request: bytes | None = None
    ) -> Weight | None:
        self.weighed.append(model.name if request is None else f"{model.name} asked")
        await asyncio.sleep(self.seconds.get(model.name, 0.1))
        answers = self.answers.get(model.name, [Weight(MB, 2 * MB)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, WeighingFailed):
            raise answer
        return answer


class Bench:
    def __init__(self) -> None:
        self.scale = Scale()
        store = SizeStore(Path(":memory:"), "mlserver")
        self.sizes = Sizes(store, Guess(), lambda digest: None)
        self.loaded: set[str] = set()
        self.tried: list[tuple[str, Exception | None]] = []
        self.room: Room | None = None
        self.read: list[str] = []
        self.weigher = Weigher(
            WeigherPorts(
                scale=self.scale,
                sizes=self.sizes,
                loaded=lambda: self.loaded,
                room=lambda: self.room,
                base=lambda: 100 * MB,
                tried=lambda model, error: self.tried.append((model.name, error)),
                present=self.present,
            )
        )

    @contextlib.asynccontextmanager
    async def present(self, model: PreparedModel) -> AsyncIterator[None]:
        self.read.append(model.name)
        yield

    def want(self, *names: str) -> None:
        for name in names:
            self.sizes.introduce(Measurable(name, FILE))
            self.weigher.want(PreparedModel(name, 1, Path("/cache") / name))

    def kept(self, name: str) -> int | None:
        return self.sizes.measured(Measurable(name, FILE), None)


@contextlib.asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    running = asyncio.create_task(made.weigher.run())
    try:
        yield made
        assert not running.done(), "the weigher ended"
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@in_virtual_time
async def test_each_content_once_and_those_in_memory_first() -> None:
    async with bench() as made:
        made.want("a", "b", "c")
        made.want("b")
        made.loaded = {"c"}
        await asyncio.sleep(10)
        made.want("a")
        await asyncio.sleep(10)
        assert made.scale.weighed == ["c", "a", "b"]
        assert made.kept("a") == MB


@in_virtual_time
async def test_one_that_fails_stops_nobody_and_is_not_tried_again() -> None:
    async with bench() as made:
        made.scale.answers["a"] = [WeighingFailed("the load ended its process", died=True)]
        made.want("a", "b")
        await asyncio.sleep(10)
        made.want("a")
        await asyncio.sleep(10)
        assert made.scale.weighed == ["a", "b"]
        assert made.kept("a") is None
        assert made.kept("b") == MB


@in_virtual_time
async def test_no_content_waits_for_the_second_weighing_of_another() -> None:
    """What was never weighed may be charged anything."""
    async with bench() as made:
        made.want("a", "b")
        await asyncio.sleep(10)
        made.scale.weighed.clear()
        made.loaded = {"a", "b", "d"}
        made.weigher.sampled("a", b"{}")
        made.want("c", "d")
        made.weigher.sampled("b", b"{}")
        await asyncio.sleep(10)
        assert made.scale.weighed == ["d", "c", "a asked", "b asked"]


@in_virtual_time
async def test_one_that_was_interrupted_is_weighed_again_later() -> None:
    """As when the server is replaced meanwhile: that says nothing of the model."""
    async with bench() as made:
        ended = WeighingFailed("the process in which it was weighed ended")
        made.scale.answers["a"] = [ended, ended, Weight(MB, 2 * MB)]
        made.want("a", "b")
        await asyncio.sleep(10)
        assert made.kept("b") == MB, "nobody waits for it"
        await asyncio.sleep(30)
        assert made.scale.weighed == ["a", "b", "a", "a"]
        assert made.kept("a") == MB
        assert made.tried == [("b", None), ("a", None)]


@in_virtual_time
async def test_one_that_is_always_interrupted_is_given_up() -> None:
    async with bench() as made:
        made.scale.answers["a"] = [WeighingFailed("the process in which it was weighed ended")]
        made.want("a")
        await asyncio.sleep(600)
        made.want("a")
        await asyncio.sleep(600)
        assert made.scale.weighed == ["a"] * 5


@in_virtual_time
async def test_one_that_was_interrupted_when_its_request_was_known_is_asked_again() -> None:
    async with bench() as made:
        made.want("a")
        await asyncio.sleep(10)
        made.scale.answers["a"] = [
            WeighingFailed("the process in which it was weighed ended"),
            Weight(2 * MB, 3 * MB, asked=True),
        ]
        made.weigher.sampled("a", b"{}")
        await asyncio.sleep(30)
        assert made.scale.weighed == ["a", "a asked", "a asked"]
        assert made.kept("a") == 2 * MB


@in_virtual_time
async def test_one_that_takes_long_holds_up_nobody() -> None:
    async with bench() as made:
        made.scale.seconds["a"] = 100.0
        made.want("a", "b")
        await asyncio.sleep(5)
        assert made.kept("b") == MB
        assert made.kept("a") is None


@in_virtual_time
async def test_a_weight_beyond_all_expectation_is_taken_twice() -> None:
    async with bench() as made:
        made.scale.answers["a"] = [Weight(391 * MB, 391 * MB), Weight(MB, 2 * MB)]
        made.scale.answers["b"] = [Weight(391 * MB, 391 * MB), Weight(390 * MB, 391 * MB)]
        made.want("a", "b")
        await asyncio.sleep(10)
        assert made.scale.weighed == ["a", "a", "b", "b"]
        assert made.kept("a") == MB
        assert made.kept("b") == 390 * MB, "twice is believed"


@in_virtual_time
async def test_it_waits_for_memory_that_the_machine_can_spare() -> None:
    async with bench() as made:
        made.room = Room(1000 * MB, 200 * MB)
        made.want("a")
        await asyncio.sleep(10)
        assert made.scale.weighed == []
        made.room = Room(1000 * MB, 900 * MB)
        await asyncio.sleep(30)
        assert made.kept("a") == MB


@in_virtual_time
async def test_who_left_is_not_weighed() -> None:
    async with bench() as made:
        made.want("a", "b")
        made.weigher.keep_only({"b"})
        await settle()
        await asyncio.sleep(10)
        assert made.scale.weighed == ["b"]


@in_virtual_time
async def test_a_content_is_weighed_once_more_when_a_request_is_known() -> None:
    async with bench() as made:
        made.want("a")
        await asyncio.sleep(10)
        made.weigher.sampled("a", b"{}")
        made.weigher.sampled("stranger", b"{}")
        await asyncio.sleep(10)
        assert made.scale.weighed == ["a", "a asked"]


@in_virtual_time
async def test_files_need_not_stay_for_a_second_weighing() -> None:
    """But for as long as it goes on."""
    async with bench() as made:
        made.want("a")
        assert made.weigher.wanted == {"a"}
        await asyncio.sleep(10)
        assert made.weigher.wanted == frozenset()
        made.weigher.sampled("a", b"request")
        assert made.weigher.wanted == frozenset()
        await asyncio.sleep(0.05)
        assert made.weigher.wanted == {"a"}
        await asyncio.sleep(10)
        assert made.scale.weighed == ["a", "a asked"]


@in_virtual_time
async def test_what_left_the_disk_is_weighed_when_it_is_back() -> None:
    async with bench() as made:
        made.scale.seconds["a"] = 1.0
        made.want("a", "b", "c")
        await asyncio.sleep(0.5)
        made.weigher.files_left("b")
        await asyncio.sleep(10)
        assert made.scale.weighed == ["a", "c"]
        made.want("b")
        await asyncio.sleep(10)
        assert made.scale.weighed == ["a", "c", "b"]
