"""From samples to bytes: agreement, spread, outliers, what stays behind, and declarations that are off."""

from __future__ import annotations

import pytest

from overbook.agent.guesses import SMALLEST
from overbook.agent.kinds import ArtifactKind
from overbook.agent.memory.estimates import (
    KEPT,
    NOISE,
    Evidence,
    charged_size,
    differs,
    measured_size,
    percentile,
    reserved_size,
    spread,
)
from overbook.agent.servers.protocol import Weight

MB = 1_000_000
FILE = ArtifactKind("pickle:some.Estimator", MB)


def seen(*loads: int, returns: tuple[int, ...] = ()) -> Evidence:
    return Evidence(
        FILE,
        loads=tuple(each * MB for each in loads),
        returns=tuple(each * MB for each in returns),
    )


def weighed(kept: int, *returns: int) -> Evidence:
    """Its peak is twice that."""
    return Evidence(FILE, Weight(kept, 2 * kept), returns=returns)


def test_without_a_load_nothing_is_measured() -> None:
    assert measured_size(Evidence(FILE), MB) is None
    assert measured_size(Evidence(FILE, returns=(5 * MB,)), MB) is None


def test_what_is_charged_covers_the_spread_of_loads() -> None:
    loads = tuple(100 * MB + n * 100_000 for n in range(16))
    assert measured_size(Evidence(FILE, loads=loads), 0) == max(loads)
    assert spread(loads) == 1_500_000
    assert spread(loads[:1]) == 0


def test_one_sample_far_above_all_others_is_left_out() -> None:
    assert percentile((10 * MB, 10 * MB, 11 * MB, 10 * MB, 90 * MB)) == 11 * MB
    assert percentile((10 * MB, 90 * MB)) == 90 * MB, "of two, nobody knows which is wrong"


def test_what_stays_behind_once_is_not_the_models() -> None:
    """The first load imported a framework of 40 MB for a model of one."""
    first = seen(41, returns=(1,))
    assert measured_size(first, 2 * MB) == 2 * MB, "what was believed lies between"
    assert measured_size(first, 0) == MB
    assert measured_size(first, 80 * MB) == 41 * MB


def test_a_model_that_grew_after_its_load_is_as_large_as_what_came_back() -> None:
    assert measured_size(seen(10, returns=(50, 50)), 10 * MB) == 50 * MB
    assert measured_size(weighed(10 * MB, 50 * MB, 52 * MB), 10 * MB) == 50 * MB


def test_one_odd_return_decides_nothing() -> None:
    """A request's body of 370 MB went while a model of 20 KiB was unloaded: it is no larger for that."""
    assert measured_size(weighed(20_480, 377_237_504), 0) == 20_480
    assert measured_size(weighed(20_480, 20_480, 377_237_504), 0) == 20_480
    assert measured_size(weighed(20_480, 377_237_504, 20_480), 0) == 20_480
    assert measured_size(seen(1, returns=(377,)), 0) == MB


def test_evidence_of_growth_falls_as_well_as_it_rises() -> None:
    grown = weighed(10 * MB, 50 * MB, 50 * MB)
    assert measured_size(grown, 0) == 50 * MB
    assert measured_size(grown.with_return(10 * MB), 0) == 10 * MB


def used(kept: int, *uses: int, returns: tuple[int, ...] = ()) -> Evidence:
    """``uses``: what it held after its first requests."""
    return Evidence(FILE, Weight(kept, 2 * kept), returns=returns, uses=uses)


def test_what_the_first_requests_allocate_is_part_of_the_model() -> None:
    assert measured_size(used(20 * MB, 100 * MB), 0) == 100 * MB
    assert measured_size(used(20 * MB, 20 * MB), 0) == 20 * MB
    assert measured_size(used(20 * MB, 100 * MB, 20 * MB), 0) == 20 * MB, "the newest counts"


def test_what_the_first_request_allocates_is_not_counted_twice() -> None:
    """The model was looked at before, and told to have grown after, it was weighed with a request."""
    asked = Evidence(FILE, Weight(100 * MB, 100 * MB, asked=True), uses=(100 * MB,))
    assert measured_size(asked.with_growth(80 * MB), 20 * MB) == 100 * MB


def test_growth_out_of_all_proportion_has_to_be_seen_twice() -> None:
    assert measured_size(used(MB, 391 * MB), 0) == MB
    assert measured_size(used(MB, 391 * MB, 390 * MB), 0) == 390 * MB


def test_what_came_back_has_the_last_word_on_growth() -> None:
    """A module that the first request imported stays in the server."""
    assert measured_size(used(20 * MB, 50 * MB, returns=(20 * MB, 20 * MB)), 0) == 20 * MB
    assert measured_size(used(20 * MB, 50 * MB, returns=(20 * MB,)), 0) == 50 * MB


def test_what_came_back_less_says_nothing_against_a_weight() -> None:
    """Others fill the holes that it left."""
    assert measured_size(weighed(70 * MB, 50 * MB, 50 * MB, 50 * MB), 0) == 70 * MB


def test_a_weight_overrules_what_was_seen_of_loads() -> None:
    evidence = Evidence(FILE, Weight(10 * MB, 20 * MB), loads=(30 * MB,))
    assert measured_size(evidence, 0) == evidence.taken == 10 * MB


@pytest.mark.parametrize(
    ("declared", "kept", "charged"),
    [
        (None, 12_288, 12_288),
        (1_000_000, 12_288, 1_000_000),  # both are less than anybody can tell
        (1_000_000, 1_900_000, 1_900_000),
        (13 * MB, 12_800_000, 12_800_000),
        (None, 0, SMALLEST),
    ],
)
def test_what_is_charged_for_a_weight(declared: int | None, kept: int, charged: int) -> None:
    assert charged_size(weighed(kept), declared, 7 * MB) == charged


@pytest.mark.parametrize(
    ("declared", "measured", "charged"),
    [
        (MB, 300_000, MB),  # within the noise: the declaration stands
        (MB, 1_900_000, MB),
        (MB, 10 * MB, 10 * MB),  # ten times too small
        (100 * MB, 10 * MB, 10 * MB),  # ten times too large
        (100 * MB, 101 * MB, 100 * MB),
        (100 * MB, 110 * MB, 110 * MB),
        (None, 300_000, 300_000),
        (None, 0, SMALLEST),
    ],
)
def test_what_the_ledger_charges(declared: int | None, measured: int, charged: int) -> None:
    assert charged_size(Evidence(FILE, loads=(measured,)), declared, 7 * MB) == charged


def test_before_any_measurement_declared_or_guessed() -> None:
    assert charged_size(None, 5 * MB, 7 * MB) == 5 * MB
    assert charged_size(None, None, 7 * MB) == 7 * MB
    assert charged_size(None, 1, 0) == SMALLEST


def test_what_measuring_blurs_is_no_difference() -> None:
    assert differs(110 * MB, 100 * MB)
    assert not differs(101 * MB, 100 * MB)


def test_samples_are_bounded_and_the_newest_kept() -> None:
    evidence = Evidence(FILE)
    for number in range(40):
        evidence = evidence.with_load(number).with_return(number)
    assert evidence.loads == evidence.returns == tuple(range(40 - KEPT, 40))
    assert evidence.with_load(-5).loads[-1] == 0


def test_the_first_inference_belongs_to_its_load() -> None:
    assert Evidence(FILE).with_load(5).with_more(9).loads == (9,)
    assert Evidence(FILE).with_load(5).with_more(3).loads == (5,)
    assert Evidence(FILE).with_more(3).loads == (3,)


def test_a_peak_rises_at_once_and_is_forgotten_slowly() -> None:
    evidence = Evidence(FILE).with_peak(160)
    assert evidence.with_peak(400).peak == 400
    assert evidence.with_peak(0).peak == 150


@pytest.mark.parametrize(
    ("declared", "cautious", "reserved"),
    [
        (None, 15 * MB, 15 * MB + NOISE),
        (MB, 30_000, 0),  # a small artifact says nothing against what is declared
        (MB, 1_500_000, 0),  # nor does one that might be larger by what nobody can measure
        (30 * MB, 15 * MB, 0),
        (10 * MB, 15 * MB, 15 * MB + NOISE),
        (MB, 15 * MB, 15 * MB + NOISE),  # its own files show that it lies
    ],
)
def test_what_a_first_load_reserves(declared: int | None, cautious: int, reserved: int) -> None:
    assert reserved_size(None, declared, cautious) == reserved
    assert reserved_size(Evidence(FILE), declared, cautious) == reserved
    assert reserved_size(seen(7), declared, cautious) == 0, "it is known"
