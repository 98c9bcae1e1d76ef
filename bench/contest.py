"""The same requests for each contestant: some clients at once, every answer checked, and how long each took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.asking import WrongAnswer
from bench.samples import Samples
from bench.zoo import Exhibit

_KEPT_FAILURES: Final = 3


@dataclass(frozen=True, slots=True)
class Question:
    """One request."""

    exhibit: Exhibit
    over_grpc: bool


# Asks it and checks the answer; raises WrongAnswer.
Ask = Callable[[Question], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Turn:
    """Of one contestant. ``milliseconds``: of each request, failed ones too; ``failures``: the first few in words."""

    seconds: float
    milliseconds: Samples
    failed: int
    failures: tuple[str, ...]

    @property
    def per_second(self) -> float:
        """Right answers."""
        return (len(self.milliseconds.values) - self.failed) / self.seconds


def zipf(exhibits: Sequence[Exhibit], count: int, *, alpha: float, seed: int) -> list[Question]:
    """Half REST, half gRPC. Which model is popular does not depend on the seed, nor on its size."""
    ranks = np.random.default_rng(len(exhibits)).permutation(len(exhibits))
    weights = 1.0 / (1.0 + ranks) ** alpha
    random = np.random.default_rng(seed)
    chosen = random.choice(len(exhibits), size=count, p=weights / weights.sum())
    protocols = random.random(count) < 0.5
    return [
        Question(exhibits[int(number)], bool(protocol))
        for number, protocol in zip(chosen, protocols, strict=True)
    ]


async def take_turn(ask: Ask, questions: Sequence[Question], *, clients: int) -> Turn:
    """Closed loop: each client has one request at a time, and they share the questions."""
    queue = iter(questions)
    taken: list[float] = []
    failures: list[str] = []

    async def client() -> None:
        for question in queue:
            began = time.perf_counter()
            try:
                await ask(question)
            except WrongAnswer as error:
                failures.append(str(error))
            taken.append((time.perf_counter() - began) * 1000)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.perf_counter() - began
    return Turn(seconds, Samples.of(taken), len(failures), tuple(failures[:_KEPT_FAILURES]))
