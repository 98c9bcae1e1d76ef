"""Who calls whom, by names that need not be registered."""

from __future__ import annotations

from overbook.residency.calls import Calls
from overbook.residency.events import ModelName

A, B, C, D = map(ModelName, "abcd")


def test_callees_come_before_their_callers_each_once() -> None:
    calls = Calls()
    assert not calls
    calls.set(D, (C, B, C))
    calls.set(C, (A, B))
    assert calls
    assert calls.callees(D) == (C, B)
    assert calls.below(D) == (A, B, C)
    assert calls.below(A) == ()
    assert calls.callers(B) == (D, C)
    calls.set(D, ())
    assert (calls.below(D), calls.callers(B), calls.callers(C)) == ((), (C,), ())


def test_a_circle_ends() -> None:
    calls = Calls()
    calls.set(A, (B,))
    calls.set(B, (C,))
    calls.set(C, (B, A))
    assert A in calls.below(A)
    assert set(calls.below(B)) == {A, B, C}
