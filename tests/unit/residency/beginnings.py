"""How stories begin that are told in Python, as they look where text cannot: models that are cold or resident."""

from __future__ import annotations

from overbook.residency import events as ev
from overbook.residency.events import ModelName
from overbook.residency.replica import Limits
from overbook.residency.states import State
from tests.unit.residency.world import LIMITS, World

A, B = (ModelName(name) for name in "ab")


def world(budget: int = 10, limits: Limits = LIMITS, **sizes: int) -> World:
    """A server that is up, with cold models of these sizes."""
    new = World(budget, limits)
    new.say(ev.ServerUp())
    for name, size in sizes.items():
        new.say(ev.Register(ModelName(name), size, 1, warm=False))
    return new


def state(here: World, model: ModelName) -> State:
    return here.core.entries[model].state
