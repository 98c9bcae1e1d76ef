"""Request traces: who is asked for, and when. Deterministic by seed; nothing here knows of memory or residency."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

# Requests drawn at once: one call of `choices` for many is several times faster than one each.
_DRAW: Final = 1024
# A scan reads every model once, in order, after this many ordinary requests for each model.
_SCAN_EVERY: Final = 5
_DAYS: Final = 4
# How many sessions are open at once, and how many requests each is long, on average.
_SESSIONS: Final = 30
_SESSION_LENGTH: Final = 10


class Request(NamedTuple):
    """``time`` in seconds from the start; ``model`` is an index into the sizes."""

    time: float
    model: int


@dataclass(frozen=True, slots=True)
class Shape:
    """What a trace looks like. ``rate`` in requests per second (exponential gaps), sizes in bytes.

    ``alpha``: skew of the popularity, Zipf. ``spread``: sigma of the log-normal sizes, 0 for equal ones; 1.5 and
    more has a heavy tail. ``drift``: swaps of two models' popularity for every 100 requests.
    """

    kind: str = "zipf"
    models: int = 1000
    requests: int = 100_000
    alpha: float = 0.9
    rate: float = 50.0
    mean_size: int = 20 << 20
    spread: float = 1.0
    drift: float = 5.0
    seed: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"trace '{self.kind}': expected one of {', '.join(sorted(KINDS))}")
        for name in ("models", "requests", "rate", "mean_size"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} {getattr(self, name)}: expected a number above 0")
        for name in ("alpha", "spread", "drift"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)}: expected 0 or more")


def sizes(shape: Shape, budget: int) -> tuple[int, ...]:
    """Bytes of each model; never more than the budget, since a larger one would be refused anyway."""
    chance = random.Random(f"sizes {shape.seed}")
    if shape.spread == 0:
        return (min(shape.mean_size, budget),) * shape.models
    mu = math.log(shape.mean_size) - shape.spread**2 / 2  # so that the mean is mean_size
    drawn = (chance.lognormvariate(mu, shape.spread) for _ in range(shape.models))
    return tuple(max(1, min(budget, int(size))) for size in drawn)


def requests(shape: Shape, model_sizes: tuple[int, ...], budget: int) -> Iterator[Request]:
    """The trace, ``shape.requests`` long, in order of time."""
    chance = random.Random(f"requests {shape.seed}")
    chosen = KINDS[shape.kind](shape, model_sizes, budget, chance)
    time = 0.0
    for _ in range(shape.requests):
        time += chance.expovariate(shape.rate)
        yield Request(time, next(chosen))


_Chooser = Callable[[Shape, tuple[int, ...], int, random.Random], Iterator[int]]


def _popular(shape: Shape, chance: random.Random) -> Iterator[int]:
    """Ranks, 0 the most popular."""
    weights = tuple(accumulate((rank + 1) ** -shape.alpha for rank in range(shape.models)))
    ranks = range(shape.models)
    while True:
        yield from chance.choices(ranks, cum_weights=weights, k=_DRAW)


def _shuffled(shape: Shape, chance: random.Random) -> list[int]:
    """Popularity has nothing to do with the order of registration, nor with size."""
    order = list(range(shape.models))
    chance.shuffle(order)
    return order


def _zipf(
    shape: Shape, model_sizes: tuple[int, ...], budget: int, chance: random.Random
) -> Iterator[int]:
    order = _shuffled(shape, chance)
    return (order[rank] for rank in _popular(shape, chance))


def _drift(
    shape: Shape, model_sizes: tuple[int, ...], budget: int, chance: random.Random
) -> Iterator[int]:
    """Zipf whose favourites change: models rise and fall while it runs."""
    order = _shuffled(shape, chance)
    due = 0.0
    for rank in _popular(shape, chance):
        due += shape.drift / 100
        while due >= 1:
            due -= 1
            one, other = chance.randrange(shape.models), chance.randrange(shape.models)
            order[one], order[other] = order[other], order[one]
        yield order[rank]


def _daily(
    shape: Shape, model_sizes: tuple[int, ...], budget: int, chance: random.Random
) -> Iterator[int]:
    """Zipf whose models have hours: each is asked for around its own time of a day, hardly at all opposite to it."""
    order = _shuffled(shape, chance)
    peak = [chance.random() for _ in range(shape.models)]
    day = max(1, shape.requests // _DAYS)
    asked = 0
    for rank in _popular(shape, chance):
        awake = 0.5 + 0.5 * math.cos(2 * math.pi * (asked / day - peak[rank]))
        if chance.random() < awake**2:
            asked += 1
            yield order[rank]


def _sessions(
    shape: Shape, model_sizes: tuple[int, ...], budget: int, chance: random.Random
) -> Iterator[int]:
    """Users come, ask one model again and again for a while, and go; which model, Zipf says."""
    chosen = _zipf(shape, model_sizes, budget, chance)
    open_: list[int] = []
    while True:
        while len(open_) < _SESSIONS:
            open_.append(next(chosen))
        place = chance.randrange(_SESSIONS)
        yield open_[place]
        if chance.random() < 1 / _SESSION_LENGTH:
            del open_[place]


def _scan(
    shape: Shape, model_sizes: tuple[int, ...], budget: int, chance: random.Random
) -> Iterator[int]:
    """Zipf, and now and then somebody who reads every model once, between the others' requests."""
    favourites = _zipf(shape, model_sizes, budget, chance)
    while True:
        for _ in range(_SCAN_EVERY * shape.models):
            yield next(favourites)
        for model in range(shape.models):
            yield model
            yield next(favourites)


def _round_robin(
    shape: Shape, model_sizes: tuple[int, ...], budget: int, chance: random.Random
) -> Iterator[int]:
    """In turn, over just more models than fit: the worst case of LRU, which then never hits."""
    total = 0
    circle = 0
    while circle < shape.models and total <= budget:
        total += model_sizes[circle]
        circle += 1
    while True:
        yield from range(circle)


KINDS: Final[dict[str, _Chooser]] = {
    "zipf": _zipf,
    "drift": _drift,
    "daily": _daily,
    "sessions": _sessions,
    "scan": _scan,
    "round-robin": _round_robin,
}
