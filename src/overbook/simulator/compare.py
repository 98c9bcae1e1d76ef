"""All policies on all traces, through the real core, beside one that sees the future and a lower bound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from overbook.residency.events import ModelName
from overbook.residency.replica import Limits
from overbook.simulator import traces
from overbook.simulator.bound import least_added
from overbook.simulator.clairvoyant import Clairvoyant
from overbook.simulator.policies import POLICIES
from overbook.simulator.simulation import Delays, Result, Setting, Simulator
from overbook.simulator.traces import Request, Shape

CLAIRVOYANT: Final = "clairvoyant"

_DELAYS: Final = Delays(noise=0.3)
_PLAIN: Final = Shape(models=1000, requests=50_000, rate=20.0)


@dataclass(frozen=True, slots=True)
class Case:
    """A trace and how much of all its models' bytes fits."""

    name: str
    shape: Shape
    fit: float = 0.25

    @property
    def budget(self) -> int:
        """Bytes."""
        return int(self.fit * self.shape.mean_size * self.shape.models)


CASES: Final = tuple(
    Case(name, shape, fit)
    for name, shape, fit in (
        ("zipf 0.6", replace(_PLAIN, alpha=0.6), 0.25),
        ("zipf 0.9", _PLAIN, 0.25),
        ("zipf 1.2", replace(_PLAIN, alpha=1.2), 0.25),
        ("equal sizes", replace(_PLAIN, spread=0.0), 0.25),
        ("heavy tail", replace(_PLAIN, spread=1.5), 0.25),
        ("60 models", replace(_PLAIN, models=60, spread=0.0, requests=20_000), 0.25),
        ("drift", replace(_PLAIN, kind="drift", drift=2.0), 0.25),
        ("fast drift", replace(_PLAIN, kind="drift", drift=5.0), 0.25),
        ("daily", replace(_PLAIN, kind="daily"), 0.25),
        ("sessions", replace(_PLAIN, kind="sessions"), 0.25),
        ("scan", replace(_PLAIN, kind="scan"), 0.25),
        ("round robin", replace(_PLAIN, kind="round-robin"), 0.25),
        ("100,000 models", replace(_PLAIN, models=100_000, requests=100_000, alpha=1.0), 0.01),
    )
)


@dataclass(frozen=True, slots=True)
class Row:
    """One policy on one trace. Times in seconds; ``bound``: no policy waits less."""

    case: str
    policy: str
    hit_rate: float
    byte_hit_rate: float
    added: float
    added_p99: float
    rejected: int
    bound: float


def compare(cases: Iterable[Case], policies: Iterable[str], limits: Limits) -> Iterator[list[Row]]:
    """The rows of one case after the other."""
    chosen = tuple(policies)
    for case in cases:
        sizes = traces.sizes(case.shape, case.budget)
        trace = list(traces.requests(case.shape, sizes, case.budget))
        bound = least_added(trace, sizes, case.budget, _load_seconds)
        setting = Setting(budget=case.budget, limits=limits, delays=_DELAYS)
        yield [
            _row(case, policy, bound, _replay(policy, setting, sizes, trace)) for policy in chosen
        ]


def _load_seconds(size: int) -> float:
    return _DELAYS.load_base + size * _DELAYS.load_per_byte


def _row(case: Case, policy: str, bound: float, result: Result) -> Row:
    return Row(
        case=case.name,
        policy=policy,
        hit_rate=result.hit_rate,
        byte_hit_rate=result.byte_hit_rate,
        added=result.mean_added(),
        added_p99=result.added_percentile(99),
        rejected=result.rejected,
        bound=bound,
    )


def _replay(policy: str, setting: Setting, sizes: tuple[int, ...], trace: list[Request]) -> Result:
    if policy == CLAIRVOYANT:
        names = [ModelName(f"m{place}") for place in range(len(sizes))]
        simulator = Simulator(setting, sizes, timer=lambda: 0.0, order=Clairvoyant(trace, names))
    else:
        simulator = Simulator(setting, sizes, timer=lambda: 0.0, order=POLICIES[policy]())
    for _ in simulator.run(trace):
        pass
    return simulator.result


def closed(row: Row, lru: Row, best: float) -> float | None:
    """Share of the way from LRU's mean added latency to ``best`` (seconds) that the row goes."""
    return (lru.added - row.added) / (lru.added - best) if lru.added > best else None
