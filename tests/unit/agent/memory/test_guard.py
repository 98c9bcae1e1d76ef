"""The guard by numbers: it acts before the kernel does, evicts first, refuses then, and does not flutter."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from overbook.agent.memory.guard import CALM, Bounds, Pressure, Sample, decide, margin_of

MB = 1_000_000
BOUNDS = Bounds(budget=1000 * MB, allowed=1200 * MB, reserve=0, margin=100 * MB)
FINE = Sample(held=900 * MB, charged=800 * MB, available=5000 * MB)


def test_nothing_is_done_while_there_is_enough() -> None:
    assert decide(FINE, BOUNDS, CALM, 0.0) is CALM
    assert CALM.withheld(1000 * MB) == 0


def test_a_process_beyond_its_bounds_gives_up_what_is_too_much() -> None:
    pressure = decide(replace(FINE, held=1250 * MB), BOUNDS, CALM, 0.0)
    assert pressure == Pressure(room=750 * MB, since=0.0)
    assert pressure.withheld(1000 * MB) == 250 * MB


def test_a_machine_that_runs_short_gets_what_it_lacks() -> None:
    pressure = decide(replace(FINE, available=40 * MB), BOUNDS, CALM, 0.0)
    assert pressure.room == 740 * MB


def test_what_inference_borrows_is_kept_free_and_allowed() -> None:
    bounds = replace(BOUNDS, reserve=200 * MB)
    assert decide(replace(FINE, held=1390 * MB), bounds, CALM, 0.0) is CALM
    assert decide(replace(FINE, available=250 * MB), bounds, CALM, 0.0).room == 750 * MB


def test_it_refuses_when_room_alone_does_not_help() -> None:
    short = replace(FINE, available=40 * MB)
    first = decide(short, BOUNDS, CALM, 0.0)
    assert not first.refusing
    assert not decide(short, BOUNDS, first, 0.9).refusing
    late = decide(short, BOUNDS, first, 1.0)
    assert late.refusing
    better = decide(replace(short, available=150 * MB), BOUNDS, late, 2.0)
    assert not better.refusing, "there is no shortage any more"
    assert better.room is not None, "but not clearly enough either"


def test_a_process_that_holds_too_much_refuses_nobody_while_the_machine_has_enough() -> None:
    """What a large body left was no reason to refuse a model of 20 KiB while 21 GiB were free."""
    much = replace(FINE, held=1250 * MB)
    late = decide(much, BOUNDS, decide(much, BOUNDS, CALM, 0.0), 5.0)
    assert late.room == 750 * MB
    assert not late.refusing
    assert decide(replace(much, available=40 * MB), BOUNDS, late, 6.0).refusing


def test_it_ends_only_when_there_is_clearly_enough() -> None:
    acting = Pressure(room=700 * MB, since=0.0)
    assert decide(replace(FINE, available=150 * MB), BOUNDS, acting, 5.0).room == 700 * MB
    assert decide(replace(FINE, available=200 * MB), BOUNDS, acting, 5.0) is CALM


def test_room_only_shrinks_while_it_acts() -> None:
    acting = Pressure(room=500 * MB, since=0.0)
    assert decide(replace(FINE, available=90 * MB), BOUNDS, acting, 0.5).room == 500 * MB
    fuller = Sample(900 * MB, 400 * MB, 50 * MB)
    assert decide(fuller, BOUNDS, acting, 0.5).room == 350 * MB


def test_the_margin() -> None:
    assert margin_of(64 << 30) == (64 << 30) // 50
    assert margin_of(2 << 30) == 128 << 20
    assert margin_of(256 << 20) == 64 << 20


@given(
    st.lists(
        st.tuples(st.integers(0, 2000), st.integers(0, 1000), st.integers(0, 400)), max_size=40
    )
)
def test_whatever_is_seen_room_is_within_the_budget_and_refusal_needs_a_shortage(
    looks: list[tuple[int, int, int]],
) -> None:
    pressure = CALM
    for now, (held, charged, available) in enumerate(looks):
        sample = Sample(held * MB, charged * MB, available * MB)
        pressure = decide(sample, BOUNDS, pressure, now / 4)
        assert 0 <= pressure.withheld(BOUNDS.budget) <= BOUNDS.budget
        short = sample.held > BOUNDS.allowed or sample.available < BOUNDS.low
        assert not pressure.refusing or short
        assert (pressure.room is None) <= (not short)
