"""Pure: what the demo counts. Latencies as quantiles, requests as totals, Prometheus text as numbers."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

_SAMPLE: Final = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
# 0.1 ms to 100 s, twenty steps for each factor of ten: within 12 % of the true value.
_STEPS_PER_DECADE: Final = 20
_BOUNDS: Final = tuple(1e-4 * 10 ** (step / _STEPS_PER_DECADE) for step in range(121))


@dataclass(slots=True)
class Latencies:
    """A histogram of seconds, small whatever the number of requests."""

    _counts: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS) + 1))
    count: int = 0
    largest: float = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(_BOUNDS, seconds)] += 1
        self.count += 1
        self.largest = max(self.largest, seconds)

    def quantile(self, share: float) -> float | None:
        """The latency that `share` of the requests did not exceed; None without requests."""
        if not self.count:
            return None
        wanted = max(1, math.ceil(share * self.count))
        seen = 0
        for number, count in enumerate(self._counts):
            seen += count
            if seen >= wanted:
                return min(_BOUNDS[min(number, len(_BOUNDS) - 1)], self.largest)
        return self.largest


@dataclass(slots=True)
class Traffic:
    """What the clients saw. `again`: requests to the model that the same client used just before."""

    rest: int = 0
    grpc: int = 0
    errors: int = 0
    wrong: int = 0
    all: Latencies = field(default_factory=Latencies)
    again: Latencies = field(default_factory=Latencies)
    by_model: Counter[str] = field(default_factory=Counter)
    first_problems: list[str] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return self.rest + self.grpc

    @property
    def failed(self) -> bool:
        return bool(self.errors or self.wrong)

    def answered(self, model: str, *, over_grpc: bool, again: bool, seconds: float) -> None:
        """A request that ended, well or not."""
        if over_grpc:
            self.grpc += 1
        else:
            self.rest += 1
        self.by_model[model] += 1
        self.all.add(seconds)
        if again:
            self.again.add(seconds)

    def problem(self, text: str, *, wrong: bool) -> None:
        """An error, or an answer that is not the model's own."""
        if wrong:
            self.wrong += 1
        else:
            self.errors += 1
        if len(self.first_problems) < 5:
            self.first_problems.append(text)


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of Prometheus text."""

    name: str
    labels: Mapping[str, str]
    value: float


def parse_samples(text: str) -> tuple[Sample, ...]:
    """The samples of a Prometheus exposition; lines that are none are passed over."""
    samples: list[Sample] = []
    for line in text.splitlines():
        match = None if line.startswith("#") else _SAMPLE.match(line)
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        samples.append(Sample(match[1], dict(_LABEL.findall(match[2] or "")), value))
    return tuple(samples)


def total(samples: Sequence[Sample], name: str, **labels: str) -> float:
    """The sum of all series of a metric that have these labels."""
    return sum(
        sample.value
        for sample in samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def histogram_quantile(
    samples: Sequence[Sample], name: str, share: float, **labels: str
) -> float | None:
    """As Prometheus computes it: linear within the bucket. None when nothing was observed."""
    buckets: dict[float, float] = {}
    for sample in samples:
        if sample.name == f"{name}_bucket" and labels.items() <= sample.labels.items():
            bound = float(sample.labels["le"])
            buckets[bound] = buckets.get(bound, 0.0) + sample.value
    bounds = sorted(buckets)
    if not bounds or not buckets[bounds[-1]]:
        return None
    wanted = share * buckets[bounds[-1]]
    low, below = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= wanted:
            if math.isinf(bound):
                return low
            inside = buckets[bound] - below
            return low + (bound - low) * ((wanted - below) / inside if inside else 1.0)
        low, below = bound, buckets[bound]
    return low
