"""Measured sizes at the scheduler: they are reckoned with, unseat nobody, and name the manifests that are wrong."""

from __future__ import annotations

import pytest

from overbook.artifacts.survey import Survey
from overbook.scheduler import agents_in
from overbook.scheduler.errors import Invalid
from overbook.scheduler.records import Role, Weight, weigh
from tests.unit.scheduler.world import MB, World, a_report, replica


def _world() -> World:
    world = World()
    world.server(memory=10 * MB, overcommitPercentage=0)
    world.hello()
    return world


def _measured(world: World, name: str, declared: int, measured: int) -> None:
    report = a_report(declared=declared, measured=measured, size=measured)
    world.report("mlserver/0", name, report)
    world.server_report("mlserver/0", state="ready")


def test_what_was_measured_counts_and_not_what_was_declared() -> None:
    world = _world()
    world.apply("liar", memory=MB)
    _measured(world, "liar", MB, 10 * MB)
    assert world.registered() == 10 * MB
    world.apply("late", memory=MB)
    assert world.reason("late") == "ScheduleFailed"
    assert "9.54MiB (10000000 bytes) registered" in world.model("late").reason
    world.apply("liar", memory=2 * MB)
    assert world.model("liar").size == 2 * MB, "until its agent says what it makes of that"


def test_too_much_by_measurement_unseats_nobody_and_says_so() -> None:
    world = _world()
    world.apply("one", memory=5 * MB)
    world.apply("two", memory=5 * MB)
    _measured(world, "one", 5 * MB, 9 * MB)
    assert world.seats("one") == world.seats("two") == {"mlserver/0": Role.ASSIGNED}
    condition = world.state.server("mlserver").condition
    assert condition is not None
    assert condition.status
    assert (
        "13.35MiB (14000000 bytes) are registered, more than the limit of 9.54MiB"
        in condition.message
    )
    assert "off by more than 25 % for one" in condition.message


def test_a_model_tells_what_its_manifest_should_say() -> None:
    world = _world()
    world.apply("liar", memory=MB)
    _measured(world, "liar", MB, 10 * MB)
    world.settle()
    condition = world.model("liar").condition
    assert condition is not None
    assert condition.status
    assert (
        "spec.memory says 976.6KiB (1000000 bytes), but 9.54MiB (10000000 bytes)"
        in condition.message
    )
    _measured(world, "liar", MB, MB)
    world.settle()
    condition = world.model("liar").condition
    assert condition is not None
    assert condition.message == "1 of 1 replicas available"


def test_only_five_are_named_and_nobody_who_left() -> None:
    world = World()
    world.server(memory=1000 * MB)
    world.hello()
    for number in range(7):
        world.apply(f"m-{number}", memory=MB)
        _measured(world, f"m-{number}", MB, 10 * MB)
    condition = world.state.server("mlserver").condition
    assert condition is not None
    assert "m-0, m-1, m-2, m-3, m-4 and 2 more" in condition.message
    for number in range(7):
        world.delete(f"m-{number}")
        world.gone("mlserver/0", f"m-{number}")
    world.server_report("mlserver/0", state="ready", process=1)
    condition = world.state.server("mlserver").condition
    assert condition is not None
    assert "m-" not in condition.message


def test_what_a_quarter_and_the_noise_of_measuring_forgive() -> None:
    assert not a_report(declared=None, measured=9 * MB).misdeclared
    assert not a_report(declared=MB, measured=None).misdeclared
    assert not a_report(declared=MB, measured=2 * MB).misdeclared
    assert not a_report(declared=100 * MB, measured=124 * MB).misdeclared
    assert a_report(declared=100 * MB, measured=126 * MB).misdeclared
    assert a_report(declared=100 * MB, measured=74 * MB).misdeclared


def test_a_budget_larger_than_the_machine_is_refused_with_numbers_or_asked_for_by_name() -> None:
    world = World()
    with pytest.raises(Invalid, match=r"9.54MiB \(10000000 bytes\).*8.58MiB \(9000000 bytes\)"):
        world.server(machine=9 * MB)
    with pytest.raises(Invalid, match=r"2 replicas of 9.54MiB.*allowOversizedMemory"):
        world.server(machine=19 * MB, replicas=2)
    assert world.server(machine=20 * MB, replicas=2).action == "created"
    world.server("large", machine=9 * MB, allowOversizedMemory=True)
    assert world.state.server("large").memory == 10 * MB
    repository = {"path": "/models"}
    address = {"rest": "127.0.0.1:1", "grpc": "127.0.0.1:2"}
    world.server("attached", machine=9 * MB, address=address, modelRepository=repository)


def _forests(count: int, *, measured: int) -> World:
    """So many of 12.8 MB by their manifests, each measured before the next comes, in 256 MB with 50 % overcommit."""
    world = World()
    world.server(memory="256M", overcommitPercentage=50)
    world.hello(memory=256 * MB)
    for number in range(count):
        world.apply(f"forest-{number:02}", memory=12_800_000)
        report = a_report(declared=12_800_000, measured=measured, size=measured)
        world.report("mlserver/0", f"forest-{number:02}", report)
    world.check()
    return world


def test_an_honest_declaration_counts_and_not_the_little_that_was_measured_beyond_it() -> None:
    world = _forests(30, measured=13_400_000)
    assert world.registered() == 30 * 12_800_000 == 384 * MB
    assert [world.reason(f"forest-{each:02}") for each in range(30)] == ["ModelAvailable"] * 30
    world.apply("one-more", memory=12_800_000)
    assert "366.2MiB (384000000 bytes) registered in 30 models" in world.model("one-more").reason


def test_one_that_the_truth_contradicts_does_not_count() -> None:
    world = _forests(25, measured=16_100_000)
    assert world.registered() == 24 * 16_100_000, (
        "384 MB, and the last that came before that was full"
    )
    assert world.reason("forest-24") == "ScheduleFailed"


def test_where_a_quarter_and_a_mebibyte_end() -> None:
    for declared, measured, counts in (
        (100 * MB, 125 * MB, 100 * MB),
        (100 * MB, 125 * MB + 1, 125 * MB + 1),
        (100 * MB, 75 * MB, 100 * MB),
        (100 * MB, 75 * MB - 1, 75 * MB - 1),
        (MB, MB + (1 << 20), MB),
        (MB, MB + (1 << 20) + 1, MB + (1 << 20) + 1),
    ):
        assert weigh(declared, 5 * MB, measured).size == counts
    assert weigh(None, 5 * MB, 7 * MB).size == 7 * MB
    assert weigh(None, 5 * MB, 0) == Weight(5 * MB, 5 * MB, 5 * MB)


def test_a_measurement_that_is_taken_back_frees_its_bytes() -> None:
    world = _world()
    world.apply("odd", memory=MB)
    _measured(world, "odd", MB, 10 * MB)
    world.apply("late", memory=5 * MB)
    assert world.reason("late") == "ScheduleFailed"
    _measured(world, "odd", MB, MB)
    assert (world.registered(), world.seats("late")) == (6 * MB, {"mlserver/0": Role.ASSIGNED})
    _measured(world, "odd", MB, 3 * MB)
    assert world.registered() == 8 * MB
    world.report("mlserver/0", "odd", a_report(declared=MB, size=MB))
    assert world.registered() == 6 * MB, "its agent knows nothing of it any more"


def test_without_a_declaration_what_was_measured_counts_then_the_agents_guess_then_ours() -> None:
    world = _world()
    world.apply("silent", memory=None, artifact=Survey(MB, "f1"))
    assert world.registered() == MB
    world.report("mlserver/0", "silent", a_report(available=False, size=4096))
    assert world.registered() == MB, "its files are not there yet"
    world.report("mlserver/0", "silent", a_report(size=3 * MB))
    assert world.registered() == 3 * MB
    world.report("mlserver/0", "silent", a_report(size=2 * MB, measured=2 * MB))
    assert world.registered() == 2 * MB


def test_nobody_who_was_admitted_loses_a_place_because_of_what_was_measured() -> None:
    world = _world()
    for name in ("one", "two", "three"):
        world.apply(name, memory=3 * MB)
    for name in ("one", "two", "three"):
        _measured(world, name, 3 * MB, 8 * MB)
    _measured(world, "one", 3 * MB, 11 * MB)
    places = [world.seats(name) for name in ("one", "two", "three")]
    # Whatever makes the scheduler look at them again: a manifest, an agent that comes back, the Server itself.
    assert world.apply("one", memory=3 * MB, priority=5).action == "configured"
    world.apply("two", memory=3 * MB, replicas=2, minReplicas=1)
    world.bye("mlserver/0")
    world.hello()
    world.server(memory=10 * MB, overcommitPercentage=0, extraCapabilities=["xgboost"])
    world.apply("four", memory=MB)
    assert [world.seats(name) for name in ("one", "two", "three")] == places
    assert all(places)
    assert world.reason("four") == "ScheduleFailed"
    world.check()


def test_a_smaller_budget_sends_away_what_is_too_much_by_what_was_declared() -> None:
    world = _world()
    for name in ("one", "two", "three"):
        world.apply(name, memory=3 * MB)
        _measured(world, name, 3 * MB, 5 * MB)
    world.server(memory=6 * MB, overcommitPercentage=0)
    assert [bool(world.model(name).assigned) for name in ("one", "two", "three")] == [
        True,
        True,
        False,
    ]


def test_a_server_says_by_what_it_is_over_its_limit_at_once() -> None:
    world = World()
    world.server(memory=20 * MB, overcommitPercentage=0)
    world.hello()
    for number in range(8):
        world.apply(f"m-{number}", memory=2 * MB)
    for number in range(8):
        report = a_report(declared=2 * MB, measured=(4 + number) * MB, size=(4 + number) * MB)
        agents_in.report(world.state, replica("mlserver/0"), [(f"m-{number}", report)])
    world.settle()
    condition = world.state.server("mlserver").condition
    assert condition is not None
    assert (
        "mlserver/0: 57.22MiB (60000000 bytes) are registered, more than the limit of 19.07MiB (20000000 bytes), "
        "as models take more than was declared or first guessed: "
        "m-7 by 8.58MiB (9000000 bytes), m-6 by 7.63MiB (8000000 bytes)"
    ) in condition.message
    assert (
        "m-3 by 4.77MiB (5000000 bytes), and 3 more by 8.58MiB (9000000 bytes); no more"
        in condition.message
    )
    for number in range(8):
        world.delete(f"m-{number}")
        world.gone("mlserver/0", f"m-{number}")
    condition = world.state.server("mlserver").condition
    assert condition is not None
    assert "limit" not in condition.message
