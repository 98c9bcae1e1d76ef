"""The measure of the core's speed counts what it says, with any timer."""

from __future__ import annotations

from overbook.residency.policy import LeastRecentlyUsed
from overbook.simulator.throughput import measure


def test_every_kind_of_event_is_measured() -> None:
    ticks = iter(range(1_000_000))
    rates = measure(
        models=50,
        resident=10,
        events=40,
        seed=1,
        timer=lambda: float(next(ticks)),
        order=LeastRecentlyUsed(),
    )
    assert [rate.name for rate in rates] == [
        "register",
        "usage report",
        "request for a resident model",
        "activation that evicts",
        "budget change",
        "usage report while requests wait",
    ]
    assert [rate.events for rate in rates[:3]] == [50, 40, 40]
    # Six requests with what follows each: at least that it is passed on, at most five events.
    assert 6 * 2 < rates[3].events <= 6 * 6
    assert rates[5].events == 40
    assert [rate.seconds for rate in rates] == [1.0] * 6, "one look at the clock before, one after"
