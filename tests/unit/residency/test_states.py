"""The transition table is complete, closed, and the only way to change a state."""

from __future__ import annotations

import pytest

from overbook.residency.states import (
    CHARGED,
    SERVING,
    TRANSITIONS,
    IllegalStep,
    State,
    Step,
    next_state,
)


def test_every_state_has_a_row_and_every_step_is_used() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {step for row in TRANSITIONS.values() for step in row} == set(Step)


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("step", list(Step))
def test_a_step_leads_where_the_table_says_or_raises(state: State, step: Step) -> None:
    if step in TRANSITIONS[state]:
        assert next_state(state, step) is TRANSITIONS[state][step]
    else:
        with pytest.raises(IllegalStep, match=f"{state.value} cannot be {step.value}"):
            next_state(state, step)


def test_every_state_can_be_reached_and_left() -> None:
    reached, frontier = {State.COLD}, [State.COLD]
    while frontier:
        for after in TRANSITIONS[frontier.pop()].values():
            if after not in reached:
                reached.add(after)
                frontier.append(after)
    assert reached == set(State)
    for state in State:
        assert set(TRANSITIONS[state].values()) - {state}, f"{state} is a trap"


def test_the_loss_of_the_server_frees_every_state() -> None:
    for state in State:
        assert next_state(state, Step.LOST) not in CHARGED


def test_what_serves_is_charged_and_only_an_unload_or_a_failure_takes_it_off_the_books() -> None:
    assert SERVING < CHARGED
    ways_out = {
        step
        for state in CHARGED
        for step, after in TRANSITIONS[state].items()
        if after not in CHARGED
    }
    assert ways_out == {Step.UNLOADED, Step.LOAD_FAILED, Step.VANISHED, Step.LOST}


def test_a_model_is_unloaded_only_after_draining() -> None:
    before = [
        s for s in State if State.UNLOADING in TRANSITIONS[s].values() and s is not State.UNLOADING
    ]
    assert before == [State.DRAINING]
