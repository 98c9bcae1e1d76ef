"""A measurement means something only if nothing else moved memory meanwhile."""

from __future__ import annotations

from typing import Any

from tests.unit.runtimes.plugins import plugin_module

ACTIVITY = plugin_module("mlserver", "overbook_mlserver/activity.py")
A, B = b"a", b"b"


def test_rest_ends_with_whatever_begins() -> None:
    activity = ACTIVITY.Activity()
    with activity.going_on():
        rest = ACTIVITY.Rest(activity)
        assert rest.lasted
        activity.begin()
        assert not rest.lasted
        activity.end()
        assert not rest.lasted, "what came and went has moved something"
        assert not ACTIVITY.Rest(activity, known=2).lasted


def test_there_is_no_rest_beside_others() -> None:
    activity = ACTIVITY.Activity()
    activity.begin()
    with activity.going_on():
        rest = ACTIVITY.Rest(activity)
        activity.end()
        assert not rest.lasted


def _loaded(activity: Any, growth: Any, model: bytes, held: int) -> None:
    with activity.going_on():
        growth.loaded(model, held, ACTIVITY.Rest(activity))


def test_growth_is_a_models_own_while_only_it_is_asked() -> None:
    activity = ACTIVITY.Activity()
    growth = ACTIVITY.Growth(activity)
    assert growth.since(A, 100) is None
    _loaded(activity, growth, A, 100)
    for _ in range(3):
        activity.begin(A)
        assert growth.since(A, 150) is None, "it is being answered"
        activity.end()
    assert growth.since(A, 150) == 50
    activity.begin(B)
    activity.end()
    assert growth.since(A, 150) is None, "another was asked meanwhile"


def test_growth_is_not_told_where_the_load_was_not_alone() -> None:
    activity = ACTIVITY.Activity()
    growth = ACTIVITY.Growth(activity)
    activity.begin(B)
    _loaded(activity, growth, A, 100)
    activity.end()
    assert growth.since(A, 150) is None


def test_what_left_and_came_again_begins_anew() -> None:
    activity = ACTIVITY.Activity()
    growth = ACTIVITY.Growth(activity)
    _loaded(activity, growth, A, 100)
    activity.begin(A)
    activity.end()
    growth.gone(A)
    assert growth.since(A, 150) is None
    _loaded(activity, growth, A, 120)
    activity.begin(A)
    activity.end()
    assert growth.since(A, 150) == 30


def test_a_stream_holds_its_last_request_and_what_the_client_has_not_taken() -> None:
    activity = ACTIVITY.Activity()
    held = ACTIVITY.Held(activity)
    held.ask(A, 100)
    held.answer(30)
    assert (activity.bodies, activity.under_way) == (130, 1)
    held.taken(30)
    assert activity.bodies == 100, "the model has it still, and may answer again"
    held.wait()
    assert (activity.bodies, activity.under_way) == (100, 0)
    held.ask(A, 50)
    assert (activity.bodies, activity.under_way, activity.asked[A]) == (50, 1, 2)
    held.answer(7)
    for _ in range(2):
        held.end()
        assert (activity.bodies, activity.under_way) == (0, 0)
