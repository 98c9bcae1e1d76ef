"""What it costs to have more models than fit, when every model is asked for equally often."""

from __future__ import annotations

import contextlib
import json
from typing import Final

from bench.artifacts import IRIS_BODY
from bench.effort import Effort
from bench.findings import Line, Measured, Section, Target, single
from bench.samples import Samples, ratios
from bench.stage import FleetPlan, Stage
from bench.wrk import Load, Outcome, run_wrk

_FIT: Final = 50
# Models asked for, of which 50 fit: 0, 10, 20 and 50 % too many.
_ASKED: Final = (50, 55, 60, 75)
_CLIENTS: Final = 10
_DIGITS: Final = 5
_P95: Final = Target(4.0)
_WORST: Final = Target(2000.0)
# What the system that Overbook replaces publishes of the same experiment, in milliseconds: p95 and worst.
_PUBLISHED: Final = {50: (35, 128), 55: (262, 8661), 60: (465, 6958), 75: (982, 17940)}
# Trees of the models' forests; none: a logistic regression, which answers in well under a millisecond.
_KINDS: Final = {"smallest models": 0, "forests": 50}


def run(stage: Stage, effort: Effort) -> Section:
    turns = {kind: _turns(stage, effort, trees) for kind, trees in _KINDS.items()}
    return Section(
        title="More models than fit, asked for at random",
        how=(
            f"{_CLIENTS} clients ask at once, each time for any of the models, all equally likely: the "
            f"worst case for a cache. {_FIT} models fit in one MLServer; asked for are "
            f"{', '.join(map(str, _ASKED))}. A request that fails would end the benchmark."
        ),
        lines=tuple(line for kind, outcomes in turns.items() for line in _lines(kind, outcomes)),
        notes=(
            "The smallest models answer in well under a millisecond, so that a request which loads its model is many "
            f"times as long; the forests ({_KINDS['forests']} trees) take some milliseconds, which brings "
            "the p95 of the models that all fit near the published one.",
            "The system that Overbook replaces publishes for this experiment, on a machine of its own, "
            + "; ".join(
                f"{asked} models: p95 {p95} ms, worst {worst:,} ms"
                for asked, (p95, worst) in _PUBLISHED.items()
            )
            + ": 28 × from the first to the last p95.",
        ),
    )


def _turns(stage: Stage, effort: Effort, trees: int) -> dict[int, list[Outcome]]:
    turns: dict[int, list[Outcome]] = {asked: [] for asked in _ASKED}
    # Four servers that idle beside what is measured later would cost it CPU time.
    with contextlib.ExitStack() as stack:
        fleets = {
            asked: stack.enter_context(
                stage.running(FleetPlan(registered=asked, hot=_FIT, trees=trees))
            )
            for asked in _ASKED
        }
        for counted in [False, *[True] * effort.rounds]:
            for asked, fleet in fleets.items():
                load = Load(json.dumps(IRIS_BODY), "m", asked, digits=_DIGITS, at_random=True)
                outcome = run_wrk(
                    fleet.instance.port,
                    load,
                    connections=_CLIENTS,
                    seconds=effort.load_seconds * (3 if counted else 1),
                )
                if counted:
                    turns[asked].append(outcome)
    return turns


def _lines(kind: str, turns: dict[int, list[Outcome]]) -> list[Line]:
    fits = _samples(turns[_FIT], "p95")
    lines = [single(f"{kind}: {_FIT} models, all fit: p95", fits, "ms")]
    for asked in _ASKED[1:]:
        mine = _samples(turns[asked], "p95")
        over = round(100 * (asked / _FIT - 1))
        last = asked == _ASKED[-1]
        contestants = (
            Measured(f"{_FIT} models", fits, "ms"),
            Measured(f"{asked} models", mine, "ms"),
        )
        figure = ratios(mine, fits)
        lines.append(
            Line(
                f"{kind}: {over} % too many: p95", contestants, figure, "×", _P95 if last else None
            )
        )
    worst = Samples.of(
        [max(each.worst for each in turn) / 1000 for turn in zip(*turns.values(), strict=True)]
    )
    lines.append(
        single(f"{kind}: the slowest request of a round", Samples.of([worst.high]), "ms", _WORST)
    )
    return lines


def _samples(outcomes: list[Outcome], field: str) -> Samples:
    """Milliseconds."""
    return Samples.of([getattr(outcome, field) / 1000 for outcome in outcomes])
