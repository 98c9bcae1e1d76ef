"""The core as a program sees it. Its laws are told in `stories/`."""

from __future__ import annotations

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.core import Core
from overbook.residency.events import ModelName


def test_no_more_than_the_budget_has_to_be_said() -> None:
    core, model = Core(budget=10), ModelName("a")
    core.handle(ev.ServerUp(), 0.0)
    assert core.handle(ev.Register(model, 4, 1), 0.0) == [fx.Load(model, 1)]
