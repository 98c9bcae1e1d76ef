"""The server driven by hand, against what can be worked out on paper."""

from __future__ import annotations

import pytest

from overbook.simulator.byhand import ByHand
from overbook.simulator.simulation import Delays, Result

MS = 0.001
DELAYS = Delays(load_base=10 * MS, load_per_byte=1 * MS, unload=2 * MS, inference=3 * MS, workers=1)


def run(asked: list[int], sizes: tuple[int, ...], budget: int, clients: int = 1) -> Result:
    driver = ByHand(budget, DELAYS, sizes)
    driver.run(asked, clients=clients)
    return driver.result


def test_a_client_waits_for_unload_load_and_answer() -> None:
    result = run([0, 0, 1], (5, 5), 5)
    assert result.latencies == pytest.approx([18 * MS, 3 * MS, 20 * MS])
    assert (result.hits, result.loads, result.evictions) == (1, 2, 1)
    assert result.virtual_seconds == pytest.approx(41 * MS)


def test_the_least_recently_used_leaves() -> None:
    result = run([0, 1, 0, 2, 0, 1], (5, 5, 5), 10)
    assert (result.hits, result.loads) == (2, 4)


def test_clients_that_want_the_same_model_share_its_load() -> None:
    result = run([0, 0, 0], (5,), 5, clients=3)
    assert (result.loads, result.requests, result.hits) == (1, 3, 0)
    assert result.latencies == pytest.approx([18 * MS] * 3)


def test_loads_stand_in_line_for_the_one_worker() -> None:
    result = run([0, 1], (5, 5), 10, clients=2)
    assert result.latencies == pytest.approx([18 * MS, 33 * MS])


def test_who_is_in_use_is_waited_for() -> None:
    """The second asks while the first is answered; only then its model may leave."""
    result = run([0, 1], (5, 5), 5, clients=2)
    assert result.latencies == pytest.approx([18 * MS, (15 + 3 + 2 + 15 + 3) * MS])
