"""When a process is replaced, and when what it 'lost' is its own after all."""

from __future__ import annotations

from overbook.agent.memory.recycling import LASTS, SHARE, SMALL, Advice, Recycling

BUDGET = 1000


def lost(recycling: Recycling, size: int, now: float) -> Advice:
    """What is advised at that time, when so much was lost for long enough by then."""
    recycling.advise(size, BUDGET, starved=False, now=now - LASTS)
    return recycling.advise(size, BUDGET, starved=False, now=now)


def test_a_process_that_lost_a_fifth_of_the_budget_is_replaced() -> None:
    fifth = int(SHARE * BUDGET)
    assert lost(Recycling(), fifth - 1, 10.0) is Advice.NOTHING
    assert lost(Recycling(), fifth, 10.0) is Advice.RECYCLE


def test_what_is_more_than_models_share_is_a_leak_at_once() -> None:
    budget = int(SMALL / SHARE)
    assert Recycling().advise(SMALL, budget, starved=False, now=10.0) is Advice.RECYCLE
    assert Recycling().advise(SMALL - 1, budget - 5, starved=False, now=10.0) is Advice.NOTHING
    assert Recycling().advise(SMALL, 2 * budget, starved=False, now=10.0) is Advice.NOTHING


def test_what_comes_back_meanwhile_was_not_lost() -> None:
    recycling = Recycling()
    for turn in range(5):
        began = 100.0 * turn
        assert recycling.advise(900, BUDGET, starved=False, now=began) is Advice.NOTHING
        assert lost(recycling, 900, began + LASTS - 1.0) is Advice.NOTHING
        assert recycling.advise(0, BUDGET, starved=False, now=began + LASTS) is Advice.NOTHING


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
    assert lost(recycling, 300, 110.0) is Advice.ABSORB
    assert lost(recycling, 300, 115.0) is Advice.RECYCLE
    recycling.began(120.0, recycled=True)
    assert lost(recycling, 300, 130.0) is Advice.RECYCLE, "it leaks"
    recycling.began(140.0, recycled=True)
    assert lost(recycling, 300, 900.0) is Advice.RECYCLE
    recycling.began(910.0, recycled=True)
    assert lost(recycling, 300, 920.0) is Advice.ABSORB


def test_what_grows_slowly_is_a_leak() -> None:
    recycling = Recycling()
    recycling.began(100.0, recycled=True)
    assert lost(recycling, 300, 200.0) is Advice.RECYCLE
    recycling.began(300.0, recycled=False)
    assert lost(recycling, 300, 301.0) is Advice.RECYCLE
