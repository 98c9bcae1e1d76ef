"""The table of returns: uses per time, per class and age; unknown cells lean on what is known."""

from __future__ import annotations

import pytest

from overbook.residency.returns import AGES, CLASSES, EDGES, Returns, age_of, class_of


def test_classes_are_powers_of_two() -> None:
    assert [class_of(uses) for uses in (1.0, 1.9, 2.0, 3.9, 4.0, 31.0, 32.0, 1e6)] == [
        0,
        0,
        1,
        1,
        2,
        4,
        5,
        5,
    ]


def test_ages_have_edges() -> None:
    assert age_of(0.0) == 0
    for column, edge in enumerate(EDGES):
        assert age_of(edge) == column
    assert age_of(1e9) == AGES - 1


def test_at_first_who_was_away_longer_comes_back_later() -> None:
    rates = Returns().rates
    assert len(rates) == CLASSES * AGES
    assert rates[:AGES] == sorted(rates[:AGES], reverse=True)


def test_rates_become_what_was_seen() -> None:
    """Class 0: of those that reach the third column one in ten is used in it; class 1 all of them."""
    table, width = Returns(), EDGES[3] - EDGES[2]
    for turn in range(4000):
        if turn % 10:
            table.passed(0, 2)
        else:
            table.used(0, EDGES[2])
        table.used(1, EDGES[2] + width / 2)
    assert table.rates[2] == pytest.approx(1 / (9 * width), rel=0.1)
    assert table.rates[AGES + 2] == pytest.approx(2 / width, rel=0.1)


def test_old_observations_fade() -> None:
    table, width = Returns(), EDGES[3] - EDGES[2]
    for _ in range(20_000):
        table.used(0, EDGES[2] + width / 2)
    for _ in range(60_000):
        table.used(0, EDGES[2] + width / 20)
    assert table.rates[2] == pytest.approx(20 / width, rel=0.1)


def test_weights_stay_finite() -> None:
    table = Returns()
    for _ in range(200_000):
        table.used(0, 0.5)
    assert table._weight < 1e13
    assert all(0 < rate < float("inf") for rate in table.rates)
