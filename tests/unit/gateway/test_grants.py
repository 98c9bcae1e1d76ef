from __future__ import annotations

import pytest

from overbook.gateway.grants import Grants, Tally

_HERE, _THERE = "server/0", "server/1"


@pytest.fixture
def grants() -> Grants:
    grants = Grants()
    for replica, model in ((_HERE, "a"), (_HERE, "a"), (_HERE, "b"), (_THERE, "a")):
        grants.begin(replica, 1)
        grants.add(replica, model)
    return grants


def totals(grants: Grants) -> tuple[int, int, int]:
    return grants.total(_HERE, "a"), grants.total(_HERE, "b"), grants.total(_THERE, "a")


def test_each_model_on_each_replica_has_its_own_number(grants: Grants) -> None:
    assert totals(grants) == (2, 1, 1)
    assert grants.total("unknown/0", "a") == 0


def test_a_server_that_started_again_counts_from_zero(grants: Grants) -> None:
    grants.begin(_HERE, 2)
    assert totals(grants) == (0, 0, 1)
    grants.add(_HERE, "a")
    grants.begin(_HERE, 2)
    assert totals(grants) == (1, 0, 1)


def test_a_replica_that_is_gone_is_forgotten(grants: Grants) -> None:
    grants.forget(_HERE)
    assert totals(grants) == (0, 0, 1)
    grants.begin(_HERE, 1)
    assert totals(grants) == (0, 0, 1)


def test_what_did_not_go_there_is_taken_back(grants: Grants) -> None:
    grants.take_back(_HERE, "a")
    assert totals(grants) == (1, 1, 1)
    for _ in range(2):
        grants.take_back(_HERE, "b")
    grants.take_back("unknown/0", "a")
    assert totals(grants) == (1, 0, 1), "what was counted in another epoch is not counted any more"
    tally = Tally()
    tally.grant()
    tally.take_back()
    assert tally == Tally()
    tally.take_back()
    assert tally == Tally()


def test_a_tally_is_even_when_the_counter_has_all() -> None:
    tally = Tally()
    assert tally.all_counted(0)
    tally.grant()
    tally.grant()
    assert not tally.all_counted(1)
    assert tally.all_counted(2)
    tally.settle(2)
    tally.grant()
    assert not tally.all_counted(2)
    assert tally.all_counted(3)


def test_what_is_missing_for_good_is_settled_too() -> None:
    tally = Tally()
    for _ in range(3):
        tally.grant()
    tally.settle(2)
    tally.grant()
    assert not tally.all_counted(2)
    assert tally.all_counted(3)


def test_a_counter_that_was_read_earlier_proves_nothing() -> None:
    tally = Tally()
    tally.settle(100)
    assert not tally.all_counted(99)
    assert tally.all_counted(100)
