"""Targets and verdicts."""

from __future__ import annotations

import pytest

from bench.findings import Target, Verdict, single
from bench.samples import Samples


@pytest.mark.parametrize(
    ("target", "values", "verdict"),
    [
        (Target(10), [9, 10, 99], Verdict.MET),
        (Target(10), [9, 10.01, 99], Verdict.NOT_MET),
        (Target(0.9, at_least=True), [0.1, 0.9, 1], Verdict.MET),
        (Target(0.9, at_least=True), [0.1, 0.89, 1], Verdict.NOT_MET),
        (None, [1], Verdict.NO_TARGET),
    ],
)
def test_the_median_decides(target: Target | None, values: list[float], verdict: Verdict) -> None:
    assert single("a thing", Samples.of(values), "ms", target).verdict is verdict
