"""How many replicas models and servers have, and whom placement waits for: through the whole state."""

from __future__ import annotations

import pytest

from overbook.scheduler.records import Role
from overbook.scheduler.state import AWAIT_SECONDS, DRAIN_SECONDS
from tests.unit.scheduler.world import World, replica

MIB = 1 << 20


@pytest.fixture
def world() -> World:
    """One Server of 10 MB and 20 %, its one replica connected."""
    world = World()
    world.server()
    world.hello()
    return world


def test_replicas_up_and_down(world: World) -> None:
    world.apply("iris", replicas=2, minReplicas=1)
    assert world.seats("iris") == {"mlserver/0": Role.ASSIGNED}
    world.report("mlserver/0", "iris")
    assert world.reason("iris") == "ModelAvailable"
    world.server(replicas=2)
    assert world.last.server_list
    world.hello("mlserver/1")
    assert set(world.seats("iris")) == {"mlserver/0", "mlserver/1"}
    world.report("mlserver/1", "iris")
    world.apply("iris", replicas=1)
    assert sorted(world.seats("iris").values()) == [Role.ASSIGNED, Role.REVOKING]
    world.check()


def test_a_model_of_two_replicas_that_both_must_be(world: World) -> None:
    world.apply("iris", replicas=2)
    assert world.seats("iris") == {}
    world.server(replicas=2)
    world.hello("mlserver/1")
    world.report("mlserver/0", "iris")
    assert world.reason("iris") == "ModelProgressing"
    world.report("mlserver/1", "iris")
    assert world.reason("iris") == "ModelAvailable"


def test_the_first_agent_to_connect_does_not_get_everything() -> None:
    world = World()
    world.server(replicas=2)
    for number in range(4):
        world.apply(f"m{number}")
    world.hello("mlserver/1")
    assert [world.seats(f"m{number}") for number in range(4)] == [{}] * 4
    assert world.reason("m0") == "ModelProgressing"
    world.hello("mlserver/0")
    seats = [seat for number in range(4) for seat in world.seats(f"m{number}")]
    assert sorted(seats) == ["mlserver/0", "mlserver/0", "mlserver/1", "mlserver/1"]
    world.check()


def test_an_agent_that_does_not_come_is_not_waited_for_long() -> None:
    world = World()
    world.server(replicas=2)
    world.apply("iris")
    world.hello("mlserver/0")
    deadline = world.state.next_deadline()
    assert deadline is not None
    assert deadline <= world.now + AWAIT_SECONDS
    assert world.seats("iris") == {}
    world.now = deadline
    world.settle()
    assert list(world.seats("iris")) == ["mlserver/0"]
    assert world.state.next_deadline() is None
    world.apply("at-once")
    assert list(world.seats("at-once")) == ["mlserver/0"]


def test_an_agent_that_was_here_before_is_not_waited_for(world: World) -> None:
    world.server(replicas=2)
    world.hello("mlserver/1")
    world.bye("mlserver/1")
    world.apply("iris")
    assert list(world.seats("iris")) == ["mlserver/0"]


def test_nobody_waits_for_an_agent_without_room() -> None:
    world = World()
    world.server("small", replicas=1, memory="2M")
    world.server("large", replicas=1)
    world.hello("large/0")
    world.apply("iris", memory="5M")
    assert list(world.seats("iris")) == ["large/0"]


def test_scaling_down_moves_first_and_stops_after(world: World) -> None:
    world.server(replicas=2)
    world.hello("mlserver/1")
    for number in range(4):
        world.apply(f"m{number}")
    moved = [f"m{n}" for n in range(4) if "mlserver/1" in world.seats(f"m{n}")]
    assert len(moved) == 2
    world.server(replicas=1)
    server = world.state.server("mlserver")
    assert world.state.running_replicas(server) == 2
    for name in moved:
        world.report("mlserver/0", name)
        world.gone("mlserver/1", name)
    assert world.state.running_replicas(server) == 1
    assert world.last.server_list
    world.bye("mlserver/1")
    assert replica("mlserver/1") not in world.state.seats.replicas
    world.check()


def test_a_scale_down_that_cannot_move_ends_by_its_deadline(world: World) -> None:
    world.server(replicas=2)
    world.hello("mlserver/1")
    world.apply("a", memory="9M")
    world.apply("b", memory="9M")
    world.apply("c", memory="1M")
    world.server(replicas=1)
    leaver = next(name for name in "abc" if "mlserver/1" in world.seats(name))
    assert world.state.next_deadline() is not None
    world.state.end_drains(world.now)
    world.now += DRAIN_SECONDS
    world.state.end_drains(world.now)
    world.settle()
    assert "mlserver/1" not in world.seats(leaver)
    assert world.state.next_deadline() is None
    assert world.state.running_replicas(world.state.server("mlserver")) == 1
    world.check()
