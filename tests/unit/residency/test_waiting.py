"""Waiters: admitted, released, leaving and expiring, each exactly once."""

from __future__ import annotations

import math

from overbook.residency.events import ModelName, RequestId
from overbook.residency.waiting import WaitingRoom

A, B = ModelName("a"), ModelName("b")


def room(*waiters: tuple[int, ModelName, float]) -> WaitingRoom:
    waiting = WaitingRoom()
    for request, model, deadline in waiters:
        waiting.admit(RequestId(request), model, deadline)
    return waiting


def test_released_in_order_of_arrival_and_only_once() -> None:
    waiting = room((3, A, 9.0), (1, A, 5.0), (2, B, 7.0))
    assert (len(waiting), waiting.waiting_for(A), waiting.waiting_for(B)) == (3, 2, 1)
    assert waiting.release(A) == [3, 1]
    assert waiting.release(A) == []
    assert len(waiting) == 1
    assert RequestId(3) not in waiting
    assert RequestId(2) in waiting


def test_who_left_is_forgotten() -> None:
    waiting = room((1, A, 5.0), (2, A, 6.0))
    assert waiting.leave(RequestId(1)) == A
    assert waiting.leave(RequestId(1)) is None
    assert waiting.release(A) == [2]
    assert waiting.waiting_for(A) == 0


def test_expired_are_forgotten_as_they_are_told() -> None:
    waiting = room((1, A, 5.0), (2, B, 3.0), (3, A, 8.0), (4, B, math.inf))
    assert list(waiting.expired(2.9)) == []
    assert list(waiting.expired(5.0)) == [(2, B), (1, A)]
    assert list(waiting.expired(5.0)) == []
    assert waiting.release(A) == [3]


def test_the_next_deadline_is_that_of_one_who_still_waits() -> None:
    waiting = room((1, A, 3.0), (2, A, 5.0))
    assert waiting.next_deadline() == 3.0
    waiting.leave(RequestId(1))
    assert waiting.next_deadline() == 5.0
    waiting.release(A)
    assert waiting.next_deadline() is None
