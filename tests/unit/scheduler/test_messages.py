"""What an agent is told of a model: everything that its manifest says about memory."""

from __future__ import annotations

from overbook.scheduler.messages import assigned_model
from tests.unit.scheduler.world import World


def test_an_assignment_carries_pin_priority_and_keep_alive() -> None:
    world = World()
    world.apply("iris", pinned=True, priority=3, keepAlive="1h30m")
    told = assigned_model(world.model("iris"))
    assert (told.pinned, told.priority, told.keep_alive_seconds) == (True, 3, 5400.0)
