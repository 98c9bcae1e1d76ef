"""How much is measured."""

from __future__ import annotations

from bench.effort import Effort


def test_a_quick_look_is_shorter_everywhere() -> None:
    quick, full = Effort(rounds=5, quick=True), Effort(rounds=5, quick=False)
    assert quick.samples < full.samples
    assert quick.load_seconds < full.load_seconds
    assert quick.idle_seconds < full.idle_seconds


def test_more_rounds_give_more_samples() -> None:
    assert Effort(rounds=4, quick=False).samples == 2 * Effort(rounds=2, quick=False).samples
