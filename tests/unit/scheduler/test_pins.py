"""Whom pins leave without room: what is warned of, what fails, and that it ends with the pin."""

from __future__ import annotations

import pytest

from overbook.placement import ReplicaId
from overbook.scheduler import pins
from overbook.scheduler.manifests_in import set_pin
from overbook.scheduler.messages import assignments
from tests.unit.scheduler.world import MB, World, a_report

HERE = "mlserver/0"


@pytest.fixture
def world() -> World:
    """A budget of 10 MB that 15 MB of models are registered for, all of them available."""
    made = World()
    made.server(overcommitPercentage=100)
    made.hello()
    for name, size in (("large", "7M"), ("middle", "6M"), ("small", "2M")):
        made.apply(name, memory=size)
        made.report(HERE, name)
    return made


def pin(world: World, name: str, pinned: bool = True) -> None:
    set_pin(world.state, name, pinned)
    world.settle()


def warned(world: World, *names: str) -> list[str]:
    seats = world.state.seats
    return pins.warnings(seats.replicas, seats.models, names)


def message(world: World, name: str) -> str:
    condition = world.model(name).condition
    assert condition is not None
    return condition.message


def in_memory(world: World, name: str, charged: int = 0) -> None:
    model = world.model(name)
    size = charged or model.weight.takes
    world.report(HERE, name, a_report(model.generation, charged=size, size=size))


def test_who_is_left_without_room_is_named_with_the_numbers(world: World) -> None:
    pin(world, "large")
    (line,) = warned(world, "large")
    assert line.startswith(
        "mlserver/0: pinned models take 6.68MiB (7000000 bytes) of 9.54MiB (10000000 bytes), "
        "which leaves no room for middle (5.72MiB (6000000 bytes)): "
    )
    assert warned(world, "middle") == [line], "who applies it hears of it as well"
    assert warned(world, "small") == []
    world.check()


def test_a_pin_that_leaves_enough_is_nothing_to_talk_of(world: World) -> None:
    pin(world, "small")
    assert warned(world, "small") == []
    assert "pinned" not in message(world, "large")


def test_pinned_models_may_be_too_many_for_each_other(world: World) -> None:
    pin(world, "large")
    pin(world, "middle")
    (line,) = warned(world, "middle")
    assert "leaves no room for large (6.68MiB (7000000 bytes)), middle (5.72MiB" in line


def test_the_status_warns_and_then_says_that_it_fails(world: World) -> None:
    pin(world, "large")
    assert world.reason("middle") == "ModelAvailable", "the pinned model is not in memory yet"
    assert "it needs 5.72MiB (6000000 bytes), but pinned models take 6.68MiB" in message(
        world, "middle"
    )
    in_memory(world, "large")
    assert world.reason("middle") == "ModelFailed"
    assert "but pinned models hold 6.68MiB (7000000 bytes) of 9.54MiB" in message(world, "middle")
    assert world.reason("small") == world.reason("large") == "ModelAvailable"
    in_memory(world, "middle")
    assert world.reason("middle") == "ModelAvailable", "it serves while it is in memory"


def test_it_ends_with_the_pin_a_smaller_model_or_a_larger_budget(world: World) -> None:
    pin(world, "large")
    in_memory(world, "large")
    pin(world, "large", False)
    assert (world.reason("middle"), warned(world, "large")) == ("ModelAvailable", [])
    pin(world, "large")
    assert world.reason("middle") == "ModelFailed"
    world.server(memory="20M", overcommitPercentage=100)
    assert message(world, "middle") == "1 of 1 replicas available"
    world.server(memory="10M", overcommitPercentage=150)
    assert world.reason("middle") == "ModelFailed"
    world.delete("large")
    world.gone(HERE, "large")
    assert message(world, "middle") == "1 of 1 replicas available"
    world.check()


def test_what_was_learned_counts(world: World) -> None:
    pin(world, "small")
    report = a_report(2, declared=2 * MB, measured=5 * MB, charged=5 * MB, size=5 * MB)
    world.report(HERE, "small", report)
    (line,) = warned(world, "small")
    assert "take 4.77MiB" in line
    assert "large (6.68MiB" in line
    assert world.reason("large") == "ModelFailed"


def test_of_many_the_largest_are_named(world: World) -> None:
    world.server(overcommitPercentage=1000)
    for number in range(7):
        world.apply(f"m{number}", memory=f"{4_000_000 + number}")
    pin(world, "large")
    (line,) = warned(world, "large")
    assert "middle (5.72MiB" in line
    assert "and 3 more: requests" in line


def test_larger_than_the_whole_budget_is_not_the_pins_doing(world: World) -> None:
    pin(world, "small")
    report = a_report(1, measured=12 * MB, size=12 * MB)
    world.report(HERE, "middle", report)
    assert warned(world, "small") == []


def test_clients_are_told_that_a_model_without_room_is_not_ready(world: World) -> None:
    pin(world, "large")
    in_memory(world, "large")
    world.settle()
    told = world.model("middle").readiness
    assert told.ready is False
    assert "pinned models hold 6.68MiB" in told.reason
    in_memory(world, "middle")
    world.settle()
    assert world.model("middle").readiness.ready, "it is in memory itself"


def test_what_a_pinned_model_calls_is_pinned_with_it(world: World) -> None:
    world.apply("ensemble", memory="100k", needs=["caller"])
    world.apply("caller", memory="100k", needs=["large"])
    assert warned(world, "middle") == []
    pin(world, "ensemble")
    (line,) = warned(world, "ensemble")
    assert "pinned models take 6.87MiB (7200000 bytes) of 9.54MiB" in line
    assert "no room for middle" in line
    told = world.state.seats
    assert told.pinned_by(world.model("large")) == "ensemble"
    world.check()
    pin(world, "large")
    pin(world, "ensemble", pinned=False)
    assert told.pinned_by(world.model("large")) == "large", "its own pin stands"
    pin(world, "large", pinned=False)
    assert warned(world, "middle") == []
    pin(world, "caller")
    assert told.pinned_by(world.model("large")) == "caller"
    assert told.pinned_by(world.model("ensemble")) == ""
    world.apply("caller", memory="100k", needs=[])
    assert told.pinned_by(world.model("large")) == "", "it is not called any more"
    world.check()
    world.apply("caller", memory="100k", needs=["large"])
    assert told.pinned_by(world.model("large")) == "caller"
    world.delete("caller")
    world.check()


def test_agents_hear_that_a_model_is_pinned_for_its_caller(world: World) -> None:
    world.apply("caller", memory="100k", needs=["small"])
    world.settle()
    where = ReplicaId("mlserver", 0)

    def heard() -> dict[str, bool]:
        told = world.last.told[where]
        kept, _ = assignments(world.state, where, told)
        return {each.name: each.pinned for each in kept}

    pin(world, "caller")
    assert heard()["small"]
    pin(world, "caller", pinned=False)
    assert not heard()["small"]


def test_a_diamond_of_callers_is_looked_through_once_a_model(world: World) -> None:
    """Not once a path: of these there are more than a million."""
    below: list[str] = ["small"]
    for layer in range(20):
        names = [f"l{layer}-{side}" for side in "ab"]
        for name in names:
            world.apply(name, memory=1000, needs=below)
        below = names
    pin(world, below[0])
    assert world.state.seats.pinned_by(world.model("small")) == below[0]
    assert set(world.state.seats.replicas[ReplicaId("mlserver", 0)].pinned) >= {"small", below[0]}
