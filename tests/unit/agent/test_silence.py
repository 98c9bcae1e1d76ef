"""A silence is counted only while a server owes answers and could give them."""

from __future__ import annotations

import pytest

from overbook.agent.deaths import Activity, Call, CallKind, Calls, Death, ended_itself
from overbook.agent.silence import SPEAKS, Look, Silence

A, B = ("a", CallKind.REQUEST), ("b", CallKind.LOAD)


def look(
    *,
    passed: float = 5.0,
    answered: bool = False,
    owes: bool = True,
    starved: float = 0.0,
    halted: bool = False,
    blocking: frozenset[tuple[str, CallKind]] = frozenset(),
) -> Look:
    return Look(
        passed=passed,
        usual=5.0,
        answered=answered,
        owes=owes,
        starved=starved,
        halted=halted,
        blocking=blocking,
    )


def test_it_adds_up_until_an_answer() -> None:
    silence = SPEAKS.after(look()).after(look())
    assert silence.seconds == 10.0
    assert silence.after(look(answered=True)) == SPEAKS


def test_who_owes_nothing_may_be_silent() -> None:
    assert SPEAKS.after(look()).after(look(owes=False)) == SPEAKS


@pytest.mark.parametrize(
    ("seen", "counted"),
    [
        (look(halted=True), 0.0),
        (look(starved=4.0), 1.0),
        (look(starved=9.0), 0.0),
        (look(passed=3600.0), 10.0),
        (look(passed=3600.0, starved=3600.0), 0.0),
    ],
)
def test_time_in_which_it_could_not_answer_does_not_count(seen: Look, counted: float) -> None:
    assert SPEAKS.after(seen).seconds == counted


def test_only_who_is_in_the_way_each_time_is_named() -> None:
    silence = SPEAKS.after(look(blocking=frozenset({A, B}))).after(look(blocking=frozenset({A})))
    assert silence == Silence(10.0, frozenset({A}))
    assert silence.after(look(blocking=frozenset({B}))).blocking == frozenset()


def test_whose_code_ran_is_suspected_and_else_all_whose_calls_were_open() -> None:
    waiting = Call("w", CallKind.REQUEST, Activity.WAITING)
    aside = Call("t", CallKind.LOAD, Activity.IN_THREAD)
    looped = Call("l", CallKind.REQUEST, Activity.ON_LOOP)
    assert Calls((waiting, aside, looped)).suspects == {
        ("t", CallKind.LOAD),
        ("l", CallKind.REQUEST),
    }
    assert Calls((waiting,)).suspects == {("w", CallKind.REQUEST)}
    assert Calls((waiting, looped), ending=True).suspects == frozenset()
    assert Calls((waiting, aside, looped)).blocking == {("l", CallKind.REQUEST)}
    assert Calls((waiting, aside)).blocking == {("t", CallKind.LOAD)}
    assert Calls((waiting,)).blocking == frozenset()


def test_an_end_from_outside_is_nobodys_doing() -> None:
    calls = Calls((Call("l", CallKind.REQUEST, Activity.ON_LOOP),))
    assert [ended_itself(code) for code in (-9, -15, -2, -11, -6, 3, 0)] == [
        *(False, False, False),
        *(True, True, True, True),
    ]
    assert Death(0.0, "signal 9", False, calls).suspects == frozenset()
    assert Death(0.0, "signal 11", True, calls).suspects == {("l", CallKind.REQUEST)}
    assert Death(0.0, "it hung", True, calls, frozenset({A})).suspects == {A}
