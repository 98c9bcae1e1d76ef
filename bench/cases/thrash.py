"""Many more models than fit, of unlike sizes, against a plain program that loads and unloads them by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.asking import Caller, WrongAnswer
from bench.bare_driver import BareDriver
from bench.contest import Ask, Question, Turn, take_turn, zipf
from bench.documents import model_document, server_document
from bench.effort import Effort
from bench.errors import BenchFailed
from bench.findings import Line, Measured, Section, Target, single
from bench.instance import Instance, running, wait_registered
from bench.launched import Launched, launched_mlserver
from bench.samples import Samples, ratios
from bench.stage import Stage
from bench.truth import truths
from bench.zoo import Exhibit, Plan, make
from overbook.agent.servers.mlserver.repository import RestRepository
from overbook.agent.servers.mlserver.settings import server_settings
from overbook.agent.servers.protocol import Addresses, ServerError

_MODELS: Final = 60
_SMALLEST, _LARGEST = 0.1, 30.0
# Many of all sizes, and a tenth of their sum has room for the largest beside some others.
_SKEW: Final = 0.7
_ROOM: Final = 10
_CLIENTS: Final = 16
_ALPHA: Final = 0.9
_TWO_MEGABYTES: Final = 2.0
_TWO_ROOM: Final = 1.5
_THROUGHPUT, _P99, _WORST = Target(0.95, at_least=True), Target(1.1), Target(2.0)
_NONE: Final = Target(0)


@dataclass(frozen=True, slots=True)
class _Contest:
    """The turns of both contestants, round by round."""

    bare: list[Turn]
    mine: list[Turn]

    def line(
        self, what: str, of: Callable[[Turn], float], unit: str, target: Target | None = None
    ) -> Line:
        bare, mine = (Samples.of([of(turn) for turn in turns]) for turns in (self.bare, self.mine))
        contestants = (Measured("by hand", bare, unit), Measured("Overbook", mine, unit))
        return Line(what, contestants, ratios(mine, bare), "×", target)


def run(stage: Stage, effort: Effort) -> Section:
    many = _thrash(stage, effort)
    two = _two(stage, effort)
    asked = sum(len(turn.milliseconds.values) for turn in many.mine)
    failed = sum(turn.failed for turn in many.mine)
    return Section(
        title="Thrash: sixty models, room for a tenth",
        how=(
            f"{_MODELS} forests and text pipelines of {_SMALLEST} to {_LARGEST:.0f} MB in a tenth of what they take, "
            f"{_CLIENTS} clients at once, popularity by Zipf ({_ALPHA}), half REST and half gRPC, all answers checked, "
            "no size declared. Against it a plain asyncio program, in the process of the clients, which knows "
            "the true sizes: it loads and unloads the same models in one MLServer, launched with the same settings, in "
            "order of arrival, two loads at once, and unloads who was used longest ago and has nothing in flight; its "
            "clients ask that MLServer directly (REST at the endpoint that gateways use). By turns, the same requests; "
            "before that each was asked once for every model. Then two models by turns, one client, room for one."
        ),
        lines=(
            many.line("right answers per second", lambda turn: turn.per_second, "/s", _THROUGHPUT),
            many.line("p50", lambda turn: turn.milliseconds.median, "ms"),
            many.line("p99", lambda turn: turn.milliseconds.percentile(99), "ms", _P99),
            many.line("slowest request", lambda turn: turn.milliseconds.high, "ms", _WORST),
            single(f"requests that failed, of {asked}", Samples.of([failed]), "", _NONE),
            two.line("two models by turns, each request", _each, "ms"),
        ),
        notes=tuple(failure for turn in (*many.mine, *two.mine) for failure in turn.failures),
    )


def _each(turn: Turn) -> float:
    return turn.seconds * 1000 / len(turn.milliseconds.values)


def _thrash(stage: Stage, effort: Effort) -> _Contest:
    plans = [
        Plan(
            f"{'forest' if number % 2 else 'text'}-{number:02}",
            "forest" if number % 2 else "text",
            _SMALLEST * (_LARGEST / _SMALLEST) ** ((number / (_MODELS - 1)) ** _SKEW),
            seed=number,
        )
        for number in range(_MODELS)
    ]
    exhibits = make(stage.folder("thrash"), plans)
    sizes = {name: each.asked for name, each in truths(exhibits, repeats=1).items()}
    rounds = [
        zipf(exhibits, effort.thrash_requests, alpha=_ALPHA, seed=number)
        for number in range(effort.thrash_rounds)
    ]
    budget = sum(sizes.values()) // _ROOM
    warm_up = [Question(exhibit, over_grpc=False) for exhibit in exhibits]
    with _contestants(stage, exhibits, budget, {}) as (instance, bare):
        return asyncio.run(_compete(instance, bare, sizes, budget, [warm_up, *rounds], _CLIENTS))


def _two(stage: Stage, effort: Effort) -> _Contest:
    """Their sizes are declared: nothing but the change from one to the other is looked at."""
    plans = [Plan(f"linear-{n}", "linear", _TWO_MEGABYTES, seed=n) for n in (1, 2)]
    exhibits = make(stage.folder("two"), plans)
    sizes = {name: each.asked for name, each in truths(exhibits, repeats=1).items()}
    by_turns = [Question(each, over_grpc=False) for each in exhibits] * effort.samples
    budget = int(_TWO_ROOM * max(sizes.values()))
    with _contestants(stage, exhibits, budget, sizes) as (instance, bare):
        rounds = [by_turns[: len(plans)], *[by_turns] * effort.thrash_rounds]
        return asyncio.run(_compete(instance, bare, sizes, budget, rounds, clients=1))


@contextlib.contextmanager
def _contestants(
    stage: Stage, exhibits: Sequence[Exhibit], budget: int, declared: dict[str, int]
) -> Iterator[tuple[Instance, Launched]]:
    with (
        running(stage.folder("up")) as instance,
        launched_mlserver(stage.folder("bare")) as bare,
    ):
        instance.apply(
            [
                server_document("mlserver", memory=budget),
                *(
                    model_document(
                        each.name, each.home, each.requirements, memory=declared.get(each.name)
                    )
                    for each in exhibits
                ),
            ]
        )
        wait_registered(instance, len(exhibits))
        yield instance, bare


async def _compete(
    instance: Instance,
    bare: Launched,
    sizes: dict[str, int],
    budget: int,
    rounds: Sequence[Sequence[Question]],
    clients: int,
) -> _Contest:
    """By turns. What was taken in the first round does not count."""
    exhibits = {each.exhibit.name: each.exhibit for each in rounds[0]}
    contest = _Contest([], [])
    async with (
        _by_hand(bare.addresses, exhibits, sizes, budget) as by_hand,
        _overbook(instance) as mine,
    ):
        for number, questions in enumerate(rounds):
            for ask, turns in ((by_hand, contest.bare), (mine, contest.mine)):
                turn = await take_turn(ask, questions, clients=clients)
                if turn.failed and ask is by_hand:
                    raise BenchFailed(f"by hand: {turn.failures[0]}")
                if number:
                    turns.append(turn)
    return contest


@contextlib.asynccontextmanager
async def _overbook(instance: Instance) -> AsyncIterator[Ask]:
    address = f"127.0.0.1:{instance.port}"
    caller = Caller(address, address)

    async def ask(question: Question) -> None:
        await caller.ask(question.exhibit, over_grpc=question.over_grpc)

    try:
        yield ask
    finally:
        await caller.close()


@contextlib.asynccontextmanager
async def _by_hand(
    addresses: Addresses, exhibits: dict[str, Exhibit], sizes: dict[str, int], budget: int
) -> AsyncIterator[Ask]:
    caller = Caller(addresses.infer, addresses.grpc)
    repository = RestRepository(addresses.infer)
    settings = {name: server_settings(each.prepared) for name, each in exhibits.items()}
    driver = BareDriver(repository, settings, sizes, budget)

    async def ask(question: Question) -> None:
        try:
            async with driver.held(question.exhibit.name):
                await caller.ask(question.exhibit, over_grpc=question.over_grpc)
        except ServerError as error:
            raise WrongAnswer(str(error)) from error

    try:
        yield ask
    finally:
        await caller.close()
        await repository.close()
