"""When a process is replaced, and when what it 'lost' is its own after all."""

from __future__ import annotations

from overbook.agent.memory.recycling import SHARE, Advice, Recycling

BUDGET = 1000


def test_a_process_that_lost_a_fifth_of_the_budget_is_replaced() -> None:
    recycling = Recycling()
    lost = int(SHARE * BUDGET)
    assert recycling.advise(lost - 1, BUDGET, starved=False, now=10.0) is Advice.NOTHING
    assert recycling.advise(lost, BUDGET, starved=False, now=10.0) is Advice.RECYCLE


def test_less_suffices_when_somebody_waits_for_it_in_vain() -> None:
    recycling = Recycling()
    assert recycling.advise(50, BUDGET, starved=True, now=10.0) is Advice.NOTHING
    assert recycling.advise(50, BUDGET, starved=False, now=11.0) is Advice.NOTHING
    assert recycling.advise(50, BUDGET, starved=True, now=12.0) is Advice.NOTHING
    assert recycling.advise(50, BUDGET, starved=True, now=14.0) is Advice.RECYCLE
    assert recycling.advise(0, BUDGET, starved=True, now=20.0) is Advice.NOTHING


def test_what_is_back_at_once_in_the_new_process_is_its_own_but_only_once() -> None:
    recycling = Recycling()
    recycling.began(100.0, recycled=True)
    assert recycling.advise(300, BUDGET, starved=False, now=110.0) is Advice.ABSORB
    assert recycling.advise(300, BUDGET, starved=False, now=115.0) is Advice.RECYCLE
    recycling.began(120.0, recycled=True)
    assert recycling.advise(300, BUDGET, starved=False, now=130.0) is Advice.RECYCLE, "it leaks"
    recycling.began(140.0, recycled=True)
    assert recycling.advise(300, BUDGET, starved=False, now=900.0) is Advice.RECYCLE
    recycling.began(910.0, recycled=True)
    assert recycling.advise(300, BUDGET, starved=False, now=920.0) is Advice.ABSORB


def test_what_grows_slowly_is_a_leak() -> None:
    recycling = Recycling()
    recycling.began(100.0, recycled=True)
    assert recycling.advise(300, BUDGET, starved=False, now=200.0) is Advice.RECYCLE
    recycling.began(300.0, recycled=False)
    assert recycling.advise(300, BUDGET, starved=False, now=301.0) is Advice.RECYCLE
