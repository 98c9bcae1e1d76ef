"""Thrash: a tenth of what is asked for all the time fits. The core against the same server driven by hand.

Clients wait for each answer before they ask again, so whoever serves more is asked more, and nobody is served out of
turn for nothing. Loads take time by their bytes, and the server works on one or two at once.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from overbook.residency.replica import Limits
from overbook.simulator.byhand import ByHand
from overbook.simulator.policies import POLICIES
from overbook.simulator.simulation import Delays, Result, Setting, Simulator

BY_HAND: Final = "by hand"

_SMALLEST: Final = 100_000
_LARGEST: Final = 30_000_000
_FIT: Final = 0.1


@dataclass(frozen=True, slots=True)
class Crowd:
    """Models, and clients that ask for them by Zipf's law with exponent ``alpha``.

    ``mixed``: most models are small and a few large (uniform in the logarithm of their bytes), else uniform in bytes.
    ``workers``: loads that the server works on at once.
    """

    mixed: bool = True
    workers: int = 1
    models: int = 60
    clients: int = 16
    requests: int = 20_000
    alpha: float = 0.9
    seed: int = 1

    @property
    def name(self) -> str:
        sizes = "mixed sizes" if self.mixed else "uniform sizes"
        return f"{sizes}, {self.workers} at once"


CROWDS: Final = tuple(Crowd(mixed, workers) for mixed in (True, False) for workers in (1, 2))


@dataclass(frozen=True, slots=True)
class Row:
    """What one driver of the server made of one crowd. Latencies in seconds, inference included."""

    crowd: str
    driver: str
    rate: float  # answers per second
    mean: float
    p95: float
    p99: float
    worst: float
    hit_rate: float
    loads: int


def sizes(crowd: Crowd) -> tuple[int, ...]:
    """Bytes of each model."""
    chance = random.Random(f"sizes {crowd.seed}")
    if not crowd.mixed:
        return tuple(int(chance.uniform(_SMALLEST, _LARGEST)) for _ in range(crowd.models))
    low, high = math.log(_SMALLEST), math.log(_LARGEST)
    return tuple(int(math.exp(chance.uniform(low, high))) for _ in range(crowd.models))


def asked(crowd: Crowd) -> list[int]:
    """The models that the clients ask for, in the order in which they come to ask."""
    chance = random.Random(f"requests {crowd.seed}")
    order = list(range(crowd.models))
    chance.shuffle(order)
    weights = tuple(accumulate((rank + 1) ** -crowd.alpha for rank in range(crowd.models)))
    ranks = chance.choices(range(crowd.models), cum_weights=weights, k=crowd.requests)
    return [order[rank] for rank in ranks]


def compare(crowds: Iterable[Crowd], policies: Iterable[str], limits: Limits) -> Iterator[Row]:
    """By hand first, then the core with each eviction policy."""
    chosen = tuple(policies)
    for crowd in crowds:
        held, requests = sizes(crowd), asked(crowd)
        budget = max(int(_FIT * sum(held)), *held)
        delays = Delays(
            load_base=0.005,
            load_per_byte=4e-9,
            unload=0.002,
            withdraw=0.002,
            inference=0.003,
            count=0.001,
            workers=crowd.workers,
        )
        driver = ByHand(budget, delays, held)
        driver.run(requests, clients=crowd.clients)
        yield _row(crowd, BY_HAND, driver.result)
        for policy in chosen:
            setting = Setting(budget=budget, limits=limits, delays=delays)
            simulator = Simulator(setting, held, timer=lambda: 0.0, order=POLICIES[policy]())
            simulator.run_closed(requests, clients=crowd.clients)
            yield _row(crowd, policy, simulator.result)


def _row(crowd: Crowd, driver: str, result: Result) -> Row:
    latencies = sorted(result.latencies)

    def percentile(percent: float) -> float:
        return latencies[math.ceil(len(latencies) * percent / 100) - 1]

    return Row(
        crowd=crowd.name,
        driver=driver,
        rate=len(latencies) / result.virtual_seconds,
        mean=sum(latencies) / len(latencies),
        p95=percentile(95),
        p99=percentile(99),
        worst=latencies[-1],
        hit_rate=result.hit_rate,
        loads=result.loads,
    )
