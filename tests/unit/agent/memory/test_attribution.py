"""Overlapping operations: a sample belongs to one of them or is none."""

from __future__ import annotations

from overbook.agent.memory.attribution import Attribution


def test_alone_the_change_is_its_own() -> None:
    windows = Attribution()
    window = windows.open(100)
    assert not windows.quiet
    assert window.change(140) == 40
    windows.close(window, 40)
    assert windows.quiet
    assert windows.serial == 1


def test_of_two_that_overlap_neither_is_measured() -> None:
    windows = Attribution()
    first = windows.open(100)
    second = windows.open(110)
    assert first.change(140) is None, "the second is under way"
    windows.close(first, None)
    assert second.change(180) is None, "the first had begun before it"


def test_what_began_and_ended_within_and_is_known_is_taken_off() -> None:
    windows = Attribution()
    outer = windows.open(100)
    unload = windows.open(130)
    windows.close(unload, -20)
    load = windows.open(110)
    windows.close(load, 7)
    assert outer.change(150) == 150 - 100 + 20 - 7


def test_what_is_unknown_within_spoils_it() -> None:
    windows = Attribution()
    outer = windows.open(100)
    windows.close(windows.open(130), None)
    assert outer.change(150) is None


def test_what_began_before_spoils_it_even_when_known() -> None:
    windows = Attribution()
    before = windows.open(100)
    window = windows.open(110)
    windows.close(before, 30)
    assert window.change(150) is None


def test_nothing_survives_the_process() -> None:
    windows = Attribution()
    window = windows.open(100)
    windows.abandon()
    assert windows.quiet
    assert window.change(150) is None
    windows.close(window, 5)
