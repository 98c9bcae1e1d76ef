"""How stories begin that are told in Python, as they look where text cannot: models that are cold or resident."""

from __future__ import annotations

from overbook.residency import events as ev
from overbook.residency.events import ModelName
from overbook.residency.replica import Limits
from overbook.residency.states import State
from tests.unit.residency.world import World

A, B = (ModelName(name) for name in "ab")
# Patience and room made ahead have stories of their own, in `fairness.txt` and `ahead.txt`.
LIMITS = Limits(unseen=0.25, drain_timeout=5.0, retry_max=8.0, headroom=0.0, patience=60.0)


def world(budget: int = 10, limits: Limits = LIMITS, **sizes: int) -> World:
    """A server that is up, with cold models of these sizes."""
    new = World(budget, limits)
    new.say(ev.ServerUp())
    for name, size in sizes.items():
        new.say(ev.Register(ModelName(name), size, 1, warm=False))
    return new


def make_resident(here: World, *models: ModelName) -> None:
    """In this order, so that the first is the least recently used; afterwards all are certainly idle."""
    for model in models:
        here.arrive(model)
        here.answer(model)
        here.pass_on(model)
        here.now += 1.0
    here.say(ev.Tick())


def state(here: World, model: ModelName) -> State:
    return here.core.entries[model].state
