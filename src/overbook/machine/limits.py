"""What clients may take of a gateway, as it was asked for, in the words of the gateway. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from overbook.gateway.activator import ActivatorLimits
from overbook.gateway.snapshot.edge import EdgeLimits
from overbook.machine.options import LimitOptions


def edge_limits(asked: LimitOptions) -> EdgeLimits:
    """What Envoy sees to."""
    return replace(
        EdgeLimits(),
        **_said(
            memory=asked.memory,
            connections=asked.connections,
            streams=asked.streams,
            head_seconds=asked.head_time,
            request_seconds=asked.request_time,
            idle_seconds=asked.idle_time,
            unread_seconds=asked.unread_time,
            rate=asked.requests_per_second,
        ),
    )


def activator_limits(asked: LimitOptions) -> ActivatorLimits:
    """What the gateway itself sees to."""
    return replace(
        ActivatorLimits(),
        **_said(waiting=asked.waiting, waiting_per_model=asked.waiting_per_model),
    )


def _said(**given: int | None) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}
