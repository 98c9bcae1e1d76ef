"""Fairness: whoever waited too long for a model that needs much gets its room, and nobody waits for ever."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.effects import Cause
from overbook.residency.events import ModelName, Ticket
from overbook.residency.states import State
from tests.unit.residency.stories import LIMITS, A, B, C, D, make_resident, state, world
from tests.unit.residency.world import World

PATIENT = replace(LIMITS, patience=2.0)


def use(here: World, *models: ModelName) -> None:
    for model in models:
        here.say(ev.UsageSeen(model, 1, here.now))


def test_after_its_patience_a_large_model_gets_the_room_of_those_in_use() -> None:
    here = world(limits=PATIENT, a=5, b=5, c=9)
    make_resident(here, A, B)
    use(here, A, B)
    here.arrive(C)
    assert here.log[-1][2] == []
    assert here.core.next_wakeup() == here.now + 2.0
    here.now += 2.0
    withdrawn = here.say(ev.Tick())
    assert withdrawn == [
        fx.Withdraw(A, Ticket(1), Cause.FAIRNESS),
        fx.Withdraw(B, Ticket(2), Cause.FAIRNESS),
    ]


def test_a_request_for_a_model_that_leaves_for_fairness_waits_its_turn() -> None:
    here = world(limits=PATIENT, a=5, b=5, c=9)
    make_resident(here, A, B)
    use(here, A, B)
    waited = here.arrive(C)
    here.now += 2.0
    here.say(ev.Tick())
    late = here.arrive(A)
    assert here.log[-1][2] == [], "it does not put the model back"
    for model in (A, B):
        here.say(ev.UsageSeen(model, 0, here.now))
        here.drained(model)
        here.answer(model)
    assert state(here, C) is State.LOADING
    here.answer(C)
    assert fx.Grant(waited) in here.log[-1][2]
    here.settle()
    assert late in here.mirror.ended


def test_idle_models_leave_first_and_only_as_many_in_use_as_needed() -> None:
    here = world(limits=PATIENT, a=3, b=3, c=7, d=4)
    make_resident(here, A, B, ModelName("d"))
    use(here, A, ModelName("d"))
    here.arrive(C)
    here.now += 2.0
    effects = here.say(ev.Tick())
    leaving = {effect.model for effect in effects if isinstance(effect, fx.Withdraw)}
    assert leaving == {B, ModelName("d")}, "A, of 3, would not have sufficed beside B"


def test_they_are_put_back_when_the_one_that_waited_leaves() -> None:
    here = world(limits=PATIENT, a=5, b=5, c=9)
    make_resident(here, A, B)
    use(here, A, B)
    waited = here.arrive(C)
    here.now += 2.0
    here.say(ev.Tick())
    here.say(ev.RequestLeft(waited))
    assert (state(here, A), state(here, B)) == (State.RESIDENT, State.RESIDENT)


def test_pinned_models_stay_whoever_waits() -> None:
    here = world(limits=PATIENT, a=2, b=5, c=8)
    make_resident(here, A, B)
    here.say(ev.Register(A, 2, 1, pinned=True))
    use(here, A, B)
    here.arrive(C)
    here.now += 2.0
    here.say(ev.Tick())
    assert (state(here, A), state(here, B)) == (State.RESIDENT, State.DRAINING)


def test_bytes_that_trickle_in_are_held_for_it() -> None:
    """A stream of small models takes each free byte at once, else the large one would never find enough."""
    here = world(limits=PATIENT, a=5, b=5, c=9, d=2)
    make_resident(here, A, B)
    use(here, A, B)
    here.arrive(C)
    here.now += 2.0
    here.say(ev.Tick())
    here.say(ev.UsageSeen(A, 0, here.now))
    here.drained(A)
    here.answer(A)
    here.arrive(ModelName("d"))
    assert state(here, ModelName("d")) is State.COLD
    here.settle()
    assert state(here, ModelName("d")) is not State.COLD


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
    here.say(ev.Register(C, large, 1, warm=False))
    waited = None
    for step in range(90):
        here.now += 0.1
        here.arrive(small[turns[step % len(turns)] % len(small)])
        if step == 10:
            waited = here.arrive(C)
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


def test_a_claim_in_a_deficit_starts_no_load_beyond_the_budget() -> None:
    """Found by the adversary: bytes short of nothing were taken for nothing short."""
    here = world(budget=7, limits=PATIENT, a=0, b=5, e=0)
    make_resident(here, A)
    use(here, A)
    here.say(ev.Measured(A, 14))
    here.arrive(B)
    here.now += 2.0
    here.say(ev.Tick())
    here.arrive(ModelName("e"))
    assert here.core.ledger.total == 14
    assert state(here, ModelName("e")) is State.COLD


def test_one_claim_at_a_time() -> None:
    """What is in use leaves for the first that waited too long; the second waits for what is left of it."""
    here = world(limits=PATIENT, a=5, b=5, c=6, d=6)
    make_resident(here, A, B)
    use(here, A, B)
    here.arrive(C)
    here.arrive(D)
    here.now += 2.0
    assert {type(each) for each in here.say(ev.Tick())} == {fx.Withdraw}
    assert sum(here.core.ledger.of(model) for model in here.withdrawals) >= 6
    assert state(here, D) is State.COLD
    assert here.mirror.waiting_for(D) == 1
    here.settle()
