"""Limits that were asked for, as the gateway has them."""

from __future__ import annotations

from overbook.gateway.activator import ActivatorLimits
from overbook.gateway.snapshot.edge import EdgeLimits
from overbook.machine.limits import activator_limits, edge_limits
from overbook.machine.options import LimitOptions


def test_what_nobody_asked_for_is_as_ever() -> None:
    assert edge_limits(LimitOptions()) == EdgeLimits()
    assert activator_limits(LimitOptions()) == ActivatorLimits()
    assert edge_limits(LimitOptions(connections=5)) == EdgeLimits(connections=5)


def test_each_has_its_place() -> None:
    asked = LimitOptions(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    assert edge_limits(asked) == EdgeLimits(
        rate=1,
        connections=2,
        streams=5,
        memory=6,
        head_seconds=7,
        request_seconds=8,
        idle_seconds=9,
        unread_seconds=10,
    )
    assert activator_limits(asked) == ActivatorLimits(waiting=3, waiting_per_model=4)
