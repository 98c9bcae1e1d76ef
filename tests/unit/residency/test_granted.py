"""Who was granted what, and is still on the way."""

from __future__ import annotations

from overbook.residency.events import ModelName, RequestId
from overbook.residency.granted import Granted

A, B = ModelName("a"), ModelName("b")


def test_granted_requests_are_counted_by_model_until_they_pass() -> None:
    granted = Granted()
    for request, model in ((1, A), (2, A), (3, B)):
        granted.add(RequestId(request), model)
    assert (granted.of(A), granted.of(B)) == (2, 1)
    assert granted.passed(RequestId(1)) == A
    assert granted.passed(RequestId(1)) is None
    assert RequestId(1) not in granted
    assert RequestId(2) in granted
    assert (granted.of(A), granted.of(B)) == (1, 1)


def test_what_is_void_never_passes() -> None:
    granted = Granted()
    granted.add(RequestId(1), A)
    granted.add(RequestId(2), B)
    granted.void(A)
    assert granted.passed(RequestId(1)) is None
    assert granted.of(A) == 0
    assert granted.passed(RequestId(2)) == B
