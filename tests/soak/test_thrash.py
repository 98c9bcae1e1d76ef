"""Sixty models of many kinds with room for a tenth of them, and thousands of requests, large bodies among them: each is
answered, rightly, and memory stays where it belongs.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from bench import bodies
from bench.asking import Caller, WrongAnswer
from bench.truth import truths
from bench.zoo import Exhibit, Plan, make
from overbook.agent.memory.unattributed import slack_of
from tests.e2e.process import Overbook, model_manifest, server_manifest, wait_until
from tests.soak.record import MB, Recorder

pytestmark = pytest.mark.soak

REQUESTS = 20_000
MODELS, ROOM = 60, 10
KINDS = ("forest", "text", "linear", "boosting", "neighbours", "custom")
SMALLEST, LARGEST = 0.1, 25.0
ALPHA = 0.9
# One request in so many has a body of 5 to 60 MB.
LARGE_SHARE, LARGE_BYTES = 400, (5e6, 60e6)
STATUS_SECONDS = 1.0
# A body is gone from the process so long after its request.
GONE_SECONDS = 2.0


@pytest.fixture(scope="module")
def exhibits(tmp_path_factory: pytest.TempPathFactory) -> list[Exhibit]:
    plans = [
        Plan(
            f"{KINDS[number % len(KINDS)]}-{number:02}",
            KINDS[number % len(KINDS)],
            SMALLEST * (LARGEST / SMALLEST) ** ((number / (MODELS - 1)) ** 0.7),
            seed=number,
        )
        for number in range(MODELS)
    ]
    return make(tmp_path_factory.mktemp("zoo"), plans)


@pytest.fixture(scope="module")
def sizes(exhibits: list[Exhibit]) -> dict[str, int]:
    return {name: each.asked for name, each in truths(exhibits, repeats=1).items()}


@contextmanager
def _registered(home: Path, exhibits: Sequence[Exhibit], budget: int) -> Iterator[Overbook]:
    """Nothing is declared."""
    with Overbook(home) as running:
        applied = running.apply(
            server_manifest(budget, overcommitPercentage=2000),
            *(
                model_manifest(each.name, each.home, requirements=list(each.requirements))
                for each in exhibits
            ),
        )
        assert applied.code == 0, applied.err
        yield running


@dataclass(slots=True)
class Storm:
    """What came of it. ``looks``: how often the status was asked for; ``large``: when there were large bodies, from and
    to, by the monotonic clock.
    """

    failures: list[str] = field(default_factory=list)
    looks: int = 0
    large: list[tuple[float, float]] = field(default_factory=list)

    def quiet(self, at: float) -> bool:
        return not any(began <= at <= end + GONE_SECONDS for began, end in self.large)


async def _storm(
    running: Overbook, exhibits: Sequence[Exhibit], clients: int, requests: int
) -> Storm:
    dice = random.Random(clients)
    ranked = random.Random(len(exhibits)).sample(list(exhibits), len(exhibits))
    weights = [1 / (rank + 1) ** ALPHA for rank in range(len(ranked))]
    queue = iter(dice.choices(ranked, weights, k=requests))
    sums = [each for each in exhibits if each.plan.kind == "custom"]
    caller = Caller(f"127.0.0.1:{running.port}", f"127.0.0.1:{running.port}")
    storm = Storm()

    async def ask(exhibit: Exhibit) -> None:
        if dice.random() >= 1 / LARGE_SHARE:
            await caller.ask(exhibit, over_grpc=dice.random() < 0.5)
            return
        began, size = time.monotonic(), int(dice.uniform(*LARGE_BYTES))
        try:
            match dice.randrange(3):
                case 0:
                    await bodies.padded(caller, exhibit, size)
                case 1:
                    await bodies.many_rows(caller, dice.choice(sums), size)
                case _:
                    await bodies.unfinished(running.port, exhibit.name, size, pause=dice.random())
        finally:
            storm.large.append((began, time.monotonic()))

    async def client() -> None:
        for exhibit in queue:
            try:
                await ask(exhibit)
            except WrongAnswer as error:
                storm.failures.append(f"{time.strftime('%X')} {error}")

    async def look() -> None:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{running.api_port}") as api:
            while True:
                async with api.get("/api/v1/models") as reply:
                    assert reply.status == 200
                    assert len(await reply.json()) == len(exhibits)
                storm.looks += 1
                await asyncio.sleep(STATUS_SECONDS)

    looking = asyncio.create_task(look())
    try:
        await asyncio.gather(*(client() for _ in range(clients)))
        assert not looking.done(), looking.exception()
    finally:
        looking.cancel()
        await asyncio.wait({looking})
        await caller.close()
    return storm


@pytest.mark.parametrize("clients", [16, 64])
def test_nobody_fails_under_thrash(
    home: Path, exhibits: list[Exhibit], sizes: dict[str, int], clients: int
) -> None:
    requests = int(os.environ.get("OVERBOOK_SOAK_REQUESTS", REQUESTS))
    budget = sum(sizes.values()) // ROOM
    with _registered(home / "up", exhibits, budget) as running, Recorder(running) as recorder:
        wait_until("the empty process was seen", lambda: recorder.moments)
        began = time.monotonic()
        storm = asyncio.run(_storm(running, exhibits, clients, requests))
        seconds = time.monotonic() - began
        evictions = running.total("evictions")
    quiet = [each for each in recorder.moments if storm.quiet(recorder.began + each.seconds)]
    highest = max(moment.held - moment.base for moment in quiet)
    charged = max(moment.charged for moment in recorder.moments)
    print(
        f"\n{clients} clients: {requests} requests in {seconds:.0f} s, {len(storm.failures)} failures, "
        f"{evictions} evictions, {storm.looks} looks at the status; budget {budget / MB:.1f} MB, "
        f"charged at most {charged / MB:.1f}, held at most "
        f"{highest / MB:.1f} beyond the base, without large bodies ({len(quiet)} of {len(recorder.moments)} samples)"
    )
    assert storm.failures == []
    assert storm.looks >= seconds / (4 * STATUS_SECONDS)
    assert evictions > requests / 20
    assert charged <= budget
    assert highest <= budget + slack_of(budget) + max(sizes.values()), "one model's surprise"
