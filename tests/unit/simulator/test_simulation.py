"""The simulator against things that can be worked out otherwise: a plain LRU cache, arithmetic, the budget."""

from __future__ import annotations

import random
from collections import OrderedDict
from dataclasses import replace

import pytest

from overbook.residency.policy import LeastRecentlyUsed
from overbook.residency.replica import Limits
from overbook.simulator.simulation import Delays, Result, Setting, Simulator
from overbook.simulator.traces import Request, Shape, requests, sizes

MS = 0.001
# No room ahead and no impatience: a plain cache.
LIMITS = Limits(headroom=0.0, patience=100.0)


def no_time() -> float:
    return 0.0


def replay(trace: list[Request], model_sizes: tuple[int, ...], setting: Setting) -> Result:
    simulator = Simulator(setting, model_sizes, timer=no_time, order=LeastRecentlyUsed())
    for _ in simulator.run(trace):
        pass
    return simulator.result


def plain_lru(asked: list[int], model_sizes: tuple[int, ...], budget: int) -> int:
    """Hits of a textbook cache."""
    cache: OrderedDict[int, int] = OrderedDict()
    hits = 0
    for model in asked:
        if model in cache:
            hits += 1
            cache.move_to_end(model)
            continue
        while sum(cache.values()) + model_sizes[model] > budget:
            cache.popitem(last=False)
        cache[model] = model_sizes[model]
    return hits


@pytest.mark.parametrize("seed", range(4))
def test_with_time_between_requests_it_is_exactly_a_least_recently_used_cache(seed: int) -> None:
    chance = random.Random(seed)
    asked = [min(int(chance.paretovariate(0.8)), 30) - 1 for _ in range(400)]
    trace = [Request(10.0 * (place + 1), model) for place, model in enumerate(asked)]
    model_sizes = (7,) * 30
    result = replay(trace, model_sizes, Setting(budget=7 * 8, limits=LIMITS))
    assert result.hits == plain_lru(asked, model_sizes, 7 * 8)
    assert result.loads == len(asked) - result.hits
    assert result.evictions == result.loads - 8


def test_round_robin_over_one_more_than_fit_never_hits() -> None:
    trace = [Request(10.0 * (place + 1), place % 9) for place in range(90)]
    assert replay(trace, (1,) * 9, Setting(budget=8, limits=LIMITS)).hits == 0


def test_added_latency_is_the_sum_of_the_delays() -> None:
    delays = Delays(
        load_base=10 * MS, load_per_byte=1 * MS, unload=3 * MS, withdraw=2 * MS, inference=1 * MS
    )
    setting = Setting(budget=5, limits=LIMITS, delays=delays)
    free, evicting = 10 * MS + 5 * MS, 2 * MS + 3 * MS + 10 * MS + 5 * MS
    result = replay([Request(1.0, 0), Request(2.0, 0), Request(3.0, 1)], (5, 5), setting)
    assert result.added == pytest.approx([free, evicting])
    assert result.hits == 1
    assert result.mean_added() == pytest.approx((free + evicting) / 3)
    assert result.added_percentile(33) == 0.0
    assert result.added_percentile(50) == pytest.approx(free)
    assert result.added_percentile(99) == pytest.approx(evicting)


def test_a_model_in_use_is_not_evicted_before_its_request_ends() -> None:
    delays = Delays(
        load_base=10 * MS,
        load_per_byte=0.0,
        unload=0.0,
        withdraw=0.0,
        inference=5.0,
        report=100 * MS,
    )
    result = replay(
        [Request(1.0, 0), Request(2.0, 1)], (5, 5), Setting(budget=5, limits=LIMITS, delays=delays)
    )
    # Loaded at 1.01, in use until 6.01, which the meter reports at the next tenth.
    assert result.added[1] == pytest.approx(6.1 - 2.0 + 10 * MS)


def test_requests_for_one_cold_model_share_its_load() -> None:
    trace = [Request(1.0 + place * MS / 10, 0) for place in range(50)]
    result = replay(trace, (5,), Setting(budget=5))
    assert (result.loads, result.requests, result.hits) == (1, 50, 0)


def test_a_request_that_waits_too_long_is_rejected() -> None:
    setting = Setting(budget=5, delays=Delays(load_base=60.0, patience=1.0))
    result = replay([Request(1.0, 0)], (5,), setting)
    assert result.rejected == 1
    assert result.added == pytest.approx([1.0])


def test_free_room_is_filled_before_anybody_asks_when_told_so() -> None:
    trace = [Request(10.0 + place, place) for place in range(4)]
    assert replay(trace, (1,) * 4, Setting(budget=4, warm=True)).hits == 4
    assert replay(trace, (1,) * 4, Setting(budget=4)).hits == 0


@pytest.mark.parametrize("kind", ["zipf", "drift", "daily", "sessions", "scan", "round-robin"])
def test_under_pressure_every_request_ends_and_the_budget_holds(kind: str) -> None:
    shape = Shape(
        kind=kind, models=60, requests=800, rate=150.0, mean_size=10_000, spread=1.2, seed=3
    )
    budget = 150_000
    model_sizes = sizes(shape, budget)
    trace = list(requests(shape, model_sizes, budget))
    setting = Setting(budget=budget, limits=Limits(unseen=0.05, headroom=0.0))
    first, again = (replay(trace, model_sizes, setting) for _ in range(2))
    assert first == again, "equal inputs, equal results"
    assert first.hits + len(first.added) == first.requests == 800
    assert first.rejected == 0
    assert first.evictions > 20
    assert first.most_charged <= budget
    assert first.bytes_hit <= first.bytes_asked == sum(model_sizes[r.model] for r in trace)


def test_the_core_is_timed_by_the_given_timer_only() -> None:
    ticks = iter(range(10_000))
    simulator = Simulator(Setting(budget=5), (5,), timer=lambda: float(next(ticks)))
    assert list(simulator.run([Request(1.0, 0)])) == [1]
    assert simulator.result.core_seconds == simulator.result.events
    assert simulator.result.events_per_second == 1.0


def test_an_empty_result_divides_by_nothing() -> None:
    empty = Result()
    assert (empty.hit_rate, empty.byte_hit_rate, empty.mean_added()) == (0.0, 0.0, 0.0)
    assert empty.added_percentile(99) == 0.0
    assert empty.events_per_second == float("inf")


CLOSED = Delays(
    load_base=10 * MS,
    load_per_byte=0.0,
    unload=2 * MS,
    withdraw=1 * MS,
    passing=1 * MS,
    inference=3 * MS,
    workers=1,
)


def closed(asked: list[int], budget: int, clients: int, delays: Delays = CLOSED) -> Result:
    simulator = Simulator(
        Setting(budget=budget, limits=LIMITS, delays=delays),
        (5,) * 3,
        timer=no_time,
        order=LeastRecentlyUsed(),
    )
    simulator.run_closed(asked, clients=clients)
    return simulator.result


def test_a_client_in_a_closed_loop_asks_again_when_it_was_answered() -> None:
    result = closed([0, 0, 1], 10, clients=1)
    assert result.latencies == pytest.approx([14 * MS, 3 * MS, 14 * MS])
    assert result.virtual_seconds == pytest.approx(31 * MS)


def test_two_models_by_turns_with_room_for_one_cost_their_unload_load_and_answer() -> None:
    """No pause: route, unload, load, grant, answer. As long as no report of the meter comes in between."""
    result = closed([0, 1, 0, 1], 5, clients=1)
    turn = (1 + 2 + 10 + 1 + 3) * MS
    assert result.latencies == pytest.approx([14 * MS, turn, turn, turn])


def test_a_server_that_counts_says_when_a_model_is_idle_that_is_waited_for() -> None:
    """Else a request that a meter saw in flight holds up the next model until the next report."""
    asked = [0, 1] * 40
    turn = (1 + 2 + 10 + 1 + 3) * MS
    by_meters = closed(asked, 5, clients=1)
    by_count = closed(asked, 5, clients=1, delays=replace(CLOSED, count=1 * MS))
    assert max(by_meters.latencies) > 0.1
    assert max(by_count.latencies) < turn + 2 * MS


def test_a_server_with_one_worker_loads_one_after_the_other() -> None:
    assert closed([0, 1], 10, clients=2).latencies == pytest.approx([14 * MS, 24 * MS])
    side_by_side = replace(CLOSED, workers=0)
    assert closed([0, 1], 10, clients=2, delays=side_by_side).latencies == pytest.approx(
        [14 * MS, 14 * MS]
    )


def test_a_client_that_was_rejected_asks_again() -> None:
    delays = replace(CLOSED, load_base=60.0, patience=1.0)
    result = closed([0, 0], 10, clients=1, delays=delays)
    assert result.rejected == 2
    assert result.latencies == pytest.approx([1.0, 1.0])
