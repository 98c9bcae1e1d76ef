"""Rounds of requests to more models than fit, and what Overbook says meanwhile that each of them takes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from bench import bodies
from bench.asking import Caller, WrongAnswer
from bench.errors import BenchFailed
from bench.zoo import Exhibit

# One request in so many is a large one, and has 5 to 60 MB; but so many at least.
_LARGE_SHARE, _LARGE_LEAST = 12, 3
_LARGE_MEGABYTES: Final = (5.0, 60.0)
_PAUSE_SECONDS: Final = (0.2, 1.5)
_LOOK_SECONDS: Final = 0.25
_QUIET_SECONDS: Final = 3.0
_SETTLED_SECONDS: Final = 60.0
_KEPT_FAILURES: Final = 5
_MOVING: Final = ("loading", "draining", "unloading")


@dataclass(frozen=True, slots=True)
class Charge:
    """What Overbook says of one model. ``charged``: bytes in the ledger while it is in memory; None while it is not.
    ``measured``: what it would be charged if it were; None while nothing is known.
    """

    charged: int | None
    measured: int | None

    @property
    def bytes(self) -> int | None:
        return self.charged if self.charged is not None else self.measured


Look = dict[str, Charge]


@dataclass(slots=True)
class Tally:
    """What came of the requests. ``failures``: the first few in words."""

    answered: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)

    def fail(self, why: str) -> None:
        self.failed += 1
        if len(self.failures) < _KEPT_FAILURES:
            self.failures.append(why)


class Rounds:
    """Of one Overbook with its models. Every answer is checked. Make it inside the event loop that uses it; `close` it.

    ``each``: how often a round asks each model; ``large``: whether there are large bodies among the requests.
    """

    def __init__(
        self,
        port: int,
        api_port: int,
        exhibits: Sequence[Exhibit],
        *,
        clients: int,
        each: int,
        large: bool,
    ) -> None:
        self.tally = Tally()
        self._port = port
        self._exhibits = exhibits
        self._clients = clients
        self._each = each
        self._large = large
        self._caller = Caller(f"127.0.0.1:{port}", f"127.0.0.1:{port}")
        self._api = aiohttp.ClientSession(f"http://127.0.0.1:{api_port}")

    async def close(self) -> None:
        await self._caller.close()
        await self._api.close()

    async def round(self, seed: int) -> None:
        """Every model is asked some times over both protocols, in any order."""
        jobs = self._jobs(random.Random(seed))
        queue = iter(jobs)

        async def client() -> None:
            for job in queue:
                try:
                    await job()
                except WrongAnswer as error:
                    self.tally.fail(str(error))
                else:
                    self.tally.answered += 1

        await asyncio.gather(*(client() for _ in range(self._clients)))

    async def round_watched(self, seed: int) -> list[Look]:
        """The same, and what is said while it runs."""
        looks: list[Look] = []

        async def watch() -> None:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                looks.append(await self.look())

        watching = asyncio.create_task(watch())
        try:
            await self.round(seed)
        finally:
            watching.cancel()
            await asyncio.wait({watching})
        return looks

    async def at_rest(self) -> Look:
        """What is said once nothing was asked for some seconds, nothing moves, and all models have been measured, which
        on a busy machine waits until it is not.
        """
        await asyncio.sleep(_QUIET_SECONDS)
        for _ in range(int(_SETTLED_SECONDS / _LOOK_SECONDS)):
            replicas = (await self._replicas()).values()
            moving = any(each["state"] in _MOVING for each in replicas)
            if not moving and all(each["bytes"]["measured"] is not None for each in replicas):
                return await self.look()
            await asyncio.sleep(_LOOK_SECONDS)
        if moving:
            raise BenchFailed(
                f"models still move {_SETTLED_SECONDS:.0f} s after the last request; expected rest"
            )
        return await self.look()

    async def look(self) -> Look:
        """By the models' names."""
        found = {}
        for name, replica in (await self._replicas()).items():
            sizes = replica["bytes"]
            resident = replica["state"] == "resident"
            found[name] = Charge(sizes["charged"] if resident else None, sizes["measured"])
        return found

    async def ask(self, exhibit: Exhibit) -> None:
        """Raises WrongAnswer."""
        await self._caller.ask(exhibit, over_grpc=False)

    async def _replicas(self) -> dict[str, dict[str, Any]]:
        async with self._api.get("/api/v1/models") as reply:
            models = await reply.json()
        return {
            model["metadata"]["name"]: model["status"]["replicas"][0]
            for model in models
            if model["status"]["replicas"]
        }

    def _jobs(self, dice: random.Random) -> list[Callable[[], Awaitable[None]]]:
        jobs = [
            self._plain(exhibit, over_grpc=dice.random() < 0.5)
            for exhibit in self._exhibits
            for _ in range(self._each)
        ]
        if self._large:
            jobs += [
                self._large_one(dice) for _ in range(max(_LARGE_LEAST, len(jobs) // _LARGE_SHARE))
            ]
        dice.shuffle(jobs)
        return jobs

    def _plain(self, exhibit: Exhibit, *, over_grpc: bool) -> Callable[[], Awaitable[None]]:
        return lambda: self._caller.ask(exhibit, over_grpc=over_grpc)

    def _large_one(self, dice: random.Random) -> Callable[[], Awaitable[None]]:
        size = int(dice.uniform(*_LARGE_MEGABYTES) * 1e6)
        sharing = [each for each in self._exhibits if not each.plan.on_triton]
        summing = [each for each in sharing if each.plan.kind == "custom"]
        exhibit, pause = dice.choice(sharing), dice.uniform(*_PAUSE_SECONDS)
        way = dice.randrange(3)
        if way == 0:
            return lambda: bodies.unfinished(self._port, exhibit.name, size, pause=pause)
        if way == 1 and summing:
            return lambda: bodies.many_rows(self._caller, dice.choice(summing), size)
        return lambda: bodies.padded(self._caller, exhibit, size)
