"""Pure: who asks which model when. Zipf popularity, sessions that stay with a model, and surges.

A few customers make most of the traffic and a long tail makes the rest (Zipf). A client works in
sessions: some requests to one model, then another model. Now and then a customer of the tail has a
busy moment and several clients turn to it at once.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

ZIPF_EXPONENT: Final = 0.9
MEAN_SESSION_REQUESTS: Final = 5.0
MEAN_PAUSE_SECONDS: Final = 0.03
SURGE_EVERY_SECONDS: Final = 5.0
SURGE_SECONDS: Final = 1.5
# Of the clients that begin a session during a surge.
SURGE_SHARE: Final = 0.4


@dataclass(frozen=True, slots=True)
class Session:
    """`requests` to one model; `pauses`: seconds to wait after each of them."""

    model: str
    pauses: tuple[float, ...]

    @property
    def requests(self) -> int:
        return len(self.pauses)


def zipf_weights(count: int, exponent: float) -> tuple[float, ...]:
    """The share of each rank, most popular first; they sum to 1."""
    raw = [1.0 / rank**exponent for rank in range(1, count + 1)]
    total = sum(raw)
    return tuple(weight / total for weight in raw)


class Workload:
    """The traffic of one demo, the same for the same seed and the same times."""

    def __init__(
        self, models: Sequence[str], *, seed: int, exponent: float = ZIPF_EXPONENT
    ) -> None:
        """Raises ValueError without models."""
        if not models:
            raise ValueError("a workload needs at least one model; got none")
        self._seed = seed
        # Popularity has nothing to do with the names' order.
        self._ranked = random.Random(seed).sample(list(models), len(models))
        self._cumulative = tuple(itertools.accumulate(zipf_weights(len(models), exponent)))

    @property
    def ranked(self) -> tuple[str, ...]:
        """The models, most popular first."""
        return tuple(self._ranked)

    def surging(self, now: float) -> str | None:
        """The model of the tail that has a busy moment `now` seconds after the start."""
        number, since = divmod(now, SURGE_EVERY_SECONDS)
        if since >= SURGE_SECONDS:
            return None
        tail = self._ranked[len(self._ranked) // 2 :]
        return random.Random(f"{self._seed}/{int(number)}").choice(tail)

    def client(self, number: int) -> Client:
        """The sessions of one client, independent of the others'."""
        return Client(self, random.Random(f"{self._seed}:{number}"))

    def pick(self, dice: random.Random) -> str:
        """A model by its popularity."""
        return dice.choices(self._ranked, cum_weights=self._cumulative)[0]


class Client:
    """One client's dice: ask for `session` again and again."""

    def __init__(self, workload: Workload, dice: random.Random) -> None:
        self._workload = workload
        self._dice = dice

    def session(self, now: float) -> Session:
        """What this client does next, `now` seconds after the start."""
        dice = self._dice
        surging = self._workload.surging(now)
        model = self._workload.pick(dice)
        if surging is not None and dice.random() < SURGE_SHARE:
            model = surging
        requests = 1 + int(dice.expovariate(1.0 / (MEAN_SESSION_REQUESTS - 0.5)))
        pauses = tuple(dice.expovariate(1.0 / MEAN_PAUSE_SECONDS) for _ in range(requests))
        return Session(model, pauses)

    def choices(self, count: int) -> Iterator[int]:
        """Endless indexes below `count`: which of a model's requests to send."""
        while True:
            yield self._dice.randrange(count)
