"""How far a fetch is."""

from __future__ import annotations

import threading

import pytest

from overbook.artifacts.transfer import Transfer, Transferred


def test_nothing_came_yet() -> None:
    assert Transfer(100, 10.0).at(10.0) == Transferred(0, 100, 0.0, None)
    assert Transfer(100, 10.0).at(12.0) == Transferred(0, 100, 0.0, None)


def test_rate_and_what_is_left() -> None:
    transfer = Transfer(100, 10.0)
    transfer.came(20)
    assert transfer.at(12.0) == Transferred(20, 100, 10.0, 8.0)


def test_the_rate_is_of_late() -> None:
    transfer = Transfer(1000, 0.0)
    transfer.came(500)
    assert transfer.at(1.0).rate == 500.0
    for second in range(2, 12):
        transfer.came(10)
        seen = transfer.at(float(second))
    assert seen.rate == pytest.approx(10.0)
    assert seen.left == pytest.approx(40.0)
    assert transfer.at(20.0).rate < 10.0


def test_an_unknown_total_has_no_end() -> None:
    transfer = Transfer(None, 0.0)
    transfer.came(5)
    assert transfer.at(1.0) == Transferred(5, None, 5.0, None)


def test_more_than_was_said_leaves_nothing() -> None:
    transfer = Transfer(10, 0.0)
    transfer.came(20)
    assert transfer.at(1.0).left == 0.0


def test_a_clock_that_stands_still() -> None:
    transfer = Transfer(10, 5.0)
    transfer.came(3)
    assert transfer.at(5.0) == Transferred(3, 10, 0.0, None)


def test_bytes_come_from_any_thread() -> None:
    transfer = Transfer(None, 0.0)

    def come() -> None:
        for _ in range(1000):
            transfer.came(1)

    threads = [threading.Thread(target=come) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert transfer.at(1.0).done == 4000
