"""Measured sizes at the scheduler: they are reckoned with, unseat nobody, and name the manifests that are wrong."""

from __future__ import annotations

import pytest

from overbook.scheduler.errors import Invalid
from overbook.scheduler.records import Role
from tests.unit.scheduler.world import MB, World, a_report


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
    assert "10M (10000000 bytes) registered" in world.model("late").reason
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
    assert "14M (14000000 bytes) are registered, more than the limit of 10M" in condition.message
    assert "off by more than 25 % for one" in condition.message


def test_a_model_tells_what_its_manifest_should_say() -> None:
    world = _world()
    world.apply("liar", memory=MB)
    _measured(world, "liar", MB, 10 * MB)
    world.settle()
    condition = world.model("liar").condition
    assert condition is not None
    assert condition.status
    assert "spec.memory says 1M (1000000 bytes), but 10M (10000000 bytes)" in condition.message
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
    with pytest.raises(Invalid, match=r"10M \(10000000 bytes\).*9M \(9000000 bytes\)"):
        world.server(machine=9 * MB)
    with pytest.raises(Invalid, match=r"2 replicas of 10M.*allowOversizedMemory"):
        world.server(machine=19 * MB, replicas=2)
    assert world.server(machine=20 * MB, replicas=2).action == "created"
    world.server("large", machine=9 * MB, allowOversizedMemory=True)
    assert world.state.server("large").memory == 10 * MB
    repository = {"path": "/models"}
    address = {"rest": "127.0.0.1:1", "grpc": "127.0.0.1:2"}
    world.server("attached", machine=9 * MB, address=address, modelRepository=repository)
