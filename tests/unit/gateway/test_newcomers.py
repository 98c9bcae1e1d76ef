from __future__ import annotations

from overbook.gateway.newcomers import GRANTS, SETTLED_SECONDS, Newcomers


def test_requests_earn_a_mark_once() -> None:
    newcomers = Newcomers()
    newcomers.come("a")
    assert [newcomers.grant("a") for _ in range(GRANTS + 2)] == [
        *(False,) * (GRANTS - 1),
        True,
        False,
        False,
    ]
    assert "a" not in newcomers


def test_coming_again_forgets_no_request_but_leaving_does() -> None:
    newcomers = Newcomers()
    newcomers.come("a")
    for _ in range(GRANTS - 1):
        newcomers.grant("a")
    newcomers.come("a")
    assert newcomers.grant("a")
    newcomers.come("a")
    newcomers.grant("a")
    newcomers.leave("a")
    newcomers.come("a")
    assert not any(newcomers.grant("a") for _ in range(GRANTS - 1))


def test_who_stays_needs_no_request() -> None:
    newcomers = Newcomers()
    newcomers.come("a")
    assert newcomers.settle(100.0) == []
    newcomers.come("b")
    assert newcomers.settle(100.0 + SETTLED_SECONDS / 2) == []
    assert newcomers.settle(100.0 + SETTLED_SECONDS) == ["a"]
    assert newcomers.settle(100.0 + SETTLED_SECONDS) == []
    assert ("a" in newcomers, "b" in newcomers) == (False, True)


def test_time_begins_anew_for_who_left() -> None:
    newcomers = Newcomers()
    newcomers.come("a")
    newcomers.settle(100.0)
    newcomers.leave("a")
    newcomers.come("a")
    assert newcomers.settle(100.0 + SETTLED_SECONDS) == []
    newcomers.leave("unknown")
