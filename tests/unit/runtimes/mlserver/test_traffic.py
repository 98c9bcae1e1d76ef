from __future__ import annotations

from tests.unit.runtimes.plugins import plugin_module

Traffic = plugin_module("mlserver", "overbook_mlserver/traffic.py").Traffic

_GATEWAY, _OTHER = b"gw.1", b"gw.2"


def test_a_request_is_present_until_it_leaves() -> None:
    traffic = Traffic()
    traffic.enter(b"a", None)
    traffic.enter(b"a", _GATEWAY)
    traffic.enter(b"b", None)
    traffic.leave(b"a")
    assert (traffic.present(b"a"), traffic.present(b"b"), traffic.present(b"c")) == (1, 1, 0)
    traffic.leave(b"a")
    assert traffic.present(b"a") == 0


def test_what_has_not_arrived_is_missing_by_gateway_and_model() -> None:
    traffic = Traffic()
    traffic.enter(b"a", _GATEWAY)
    traffic.enter(b"b", _GATEWAY)
    assert traffic.missing(b"a", {_GATEWAY: 1}) == 0
    assert traffic.missing(b"a", {_GATEWAY: 3, _OTHER: 2}) == 4
    traffic.leave(b"a")
    assert traffic.missing(b"a", {_GATEWAY: 1}) == 0, "it has arrived, and was answered"


def test_one_gateway_that_is_ahead_does_not_make_up_for_another() -> None:
    traffic = Traffic()
    for _ in range(3):
        traffic.enter(b"a", _GATEWAY)
    assert traffic.missing(b"a", {_GATEWAY: 1, _OTHER: 1}) == 1


def test_what_was_forgiven_is_not_missed_again() -> None:
    traffic = Traffic()
    traffic.enter(b"a", _GATEWAY)
    traffic.settle(b"a", {_GATEWAY: 3})
    assert traffic.missing(b"a", {_GATEWAY: 3}) == 0
    assert traffic.missing(b"a", {_GATEWAY: 4}) == 1


def test_what_was_forgiven_and_came_after_all_does_not_hide_another() -> None:
    traffic = Traffic()
    traffic.settle(b"a", {_GATEWAY: 1})
    traffic.enter(b"a", _GATEWAY)
    traffic.settle(b"a", {_GATEWAY: 1})
    assert traffic.missing(b"a", {_GATEWAY: 2}) == 1


def test_gateways_that_are_gone_are_forgotten() -> None:
    traffic = Traffic()
    for gateway in (_GATEWAY, _OTHER):
        traffic.enter(b"a", gateway)
        traffic.enter(b"b", gateway)
    traffic.settle(b"a", {_OTHER: 1})
    assert traffic.missing(b"a", {_GATEWAY: 1}) == 1
    assert traffic.missing(b"b", {_GATEWAY: 1}) == 0, "nothing is known of it as to that model"


def test_whether_some_came_past_the_gateways() -> None:
    traffic = Traffic()
    traffic.enter(b"a", _GATEWAY)
    traffic.enter(b"b", None)
    traffic.leave(b"b")
    assert (traffic.direct(b"a"), traffic.direct(b"b")) == (False, True)
    traffic.settle(b"b", {})
    assert not traffic.direct(b"b")


def test_who_watches_is_told_when_the_last_has_left() -> None:
    traffic, told = Traffic(), list[str]()

    def first() -> None:
        told.append("first")

    def second() -> None:
        told.append("second")

    traffic.watch(b"a", first)
    traffic.watch(b"a", second)
    for model in (b"a", b"a", b"b"):
        traffic.enter(model, None)
    traffic.leave(b"a")
    traffic.leave(b"b")
    assert told == []
    traffic.leave(b"a")
    assert told == ["first", "second"]
    traffic.unwatch(b"a", first)
    traffic.enter(b"a", None)
    traffic.leave(b"a")
    assert told == ["first", "second", "second"]
