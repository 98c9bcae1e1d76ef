"""Nobody waits for ever, whatever is asked for beside it. The laws of fairness are told in `stories/fairness.txt`."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from overbook.residency import events as ev
from overbook.residency.events import ModelName
from overbook.residency.states import State
from tests.unit.residency.world import LIMITS, World

PATIENT = replace(LIMITS, patience=2.0)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=3, max_size=7),
    large=st.integers(6, 10),
    turns=st.lists(st.integers(0, 6), min_size=20, max_size=40),
)
def test_no_stream_of_small_models_starves_a_large_one(
    sizes: list[int], large: int, turns: list[int]
) -> None:
    """Small ones are asked for all the time and are always in use; the large one comes all the same, and so do they."""
    small = [ModelName(f"s{place}") for place in range(len(sizes))]
    here = World(10, PATIENT)
    here.say(ev.ServerUp())
    for model, size in zip(small, sizes, strict=True):
        here.say(ev.Register(model, size, 1, warm=False))
    large_one = ModelName("large")
    here.say(ev.Register(large_one, large, 1, warm=False))
    waited = None
    for step in range(90):
        here.now += 0.1
        here.arrive(small[turns[step % len(turns)] % len(small)])
        if step == 10:
            waited = here.arrive(large_one)
        _one_step(here, small)
    assert waited in here.mirror.ended, "patience, a drain and a load each way are over by then"
    here.settle()


def _one_step(here: World, small: list[ModelName]) -> None:
    """Everybody acts: residents are in use, those withdrawn end what they have, loads end."""
    for model in small:
        if here.mirror.models[model].state is State.RESIDENT:
            here.say(ev.UsageSeen(model, 1, here.now))
    for model in list(here.withdrawals):
        here.say(ev.UsageSeen(model, 0, here.now))
        if model in here.withdrawals:
            here.drained(model)
    for model in list(here.calls):
        here.answer(model)
    here.say(ev.Tick())
