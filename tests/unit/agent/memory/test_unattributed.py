"""Bytes that are nobody's: the law that what is held stays under base, slack, charges and what is withheld."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.agent.memory.estimates import NOISE
from overbook.agent.memory.unattributed import LASTS, LOOKS, Unattributed, passing_of, slack_of

MB = 1_000_000


def made(slack: int = 10 * MB, base: int = 100 * MB) -> Unattributed:
    state = Unattributed(slack)
    state.began(base)
    return state


def test_the_slack_is_a_hundredth_and_never_tiny_and_room_for_fragments() -> None:
    assert slack_of(4_000_000_000) == (24 << 20) + 40_000_000
    assert slack_of(10 * MB) == 32 << 20
    assert passing_of(4_000_000_000) == 40_000_000
    assert passing_of(10 * MB) == 8 << 20


def test_an_excess_is_withheld_once_it_lasted() -> None:
    state = made()
    assert not state.observe(150 * MB, 0, now=0.0)
    assert not state.observe(130 * MB, 0, now=1.0)
    for look in range(2, LOOKS - 1):
        assert not state.observe(150 * MB, 0, now=float(look))
    assert state.observe(150 * MB, 0, now=LASTS)
    assert state.withheld == 20 * MB, "the least of what was seen"


def test_a_few_looks_may_all_have_met_an_inference() -> None:
    state = made()
    for look in range(LOOKS - 1):
        assert not state.observe(150 * MB, 0, now=look * LASTS)
    assert not state.observe(100 * MB, 0, now=LOOKS * LASTS)
    assert state.withheld == 0


def test_borrowed_memory_is_not_lost() -> None:
    state = made()
    for now in range(20):
        assert not state.observe((100 + 400 * (now % 2)) * MB, 0, now=float(now))
    assert state.withheld == 0


def test_what_is_gone_is_believed_at_once() -> None:
    state = made()
    assert state.fell_short(160 * MB, 0)
    assert state.withheld == 50 * MB
    assert state.observe(120 * MB, 0, now=0.0)
    assert state.withheld == 10 * MB
    assert state.observe(110 * MB, 0, now=0.1)
    assert state.withheld == 0


def test_an_unload_that_gave_back_is_no_loss() -> None:
    assert not made().fell_short(110 * MB, 0)


def test_pages_that_come_and_go_are_no_news() -> None:
    state = made()
    state.fell_short(130 * MB, 0)
    assert not state.fell_short(130 * MB + NOISE // 2, 0)
    assert state.withheld == 20 * MB


def test_a_new_process_has_lost_nothing() -> None:
    state = made()
    state.fell_short(160 * MB, 0)
    state.began(90 * MB)
    assert (state.base, state.withheld) == (90 * MB, 0)


def test_what_comes_back_in_a_new_process_is_its_base() -> None:
    state = made()
    state.fell_short(160 * MB, 0)
    state.absorb()
    assert (state.base, state.withheld) == (150 * MB, 0)
    assert not state.fell_short(160 * MB, 0)


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 300)), max_size=30),
    st.sampled_from([0.0, 1.0, 5.0]),
)
def test_whenever_an_unload_was_late_the_law_holds(
    looks: list[tuple[int, int]], step: float
) -> None:
    state, now = made(), 0.0
    for held, charged in looks:
        now += step
        state.observe(held * MB, charged * MB, now)
        state.fell_short(held * MB, charged * MB)
        assert held * MB <= state.ceiling(charged * MB) + NOISE
        assert state.withheld >= 0


@pytest.mark.parametrize("charged", [0, 30])
def test_the_ceiling(charged: int) -> None:
    assert made().ceiling(charged * MB) == (110 + charged) * MB
