"""Pure: what all clients together may take of Envoy, and its overload manager, as plain JSON-like documents.

What one request may be is in `wire/limits.py`. The overload manager acts on the listener for large bodies alone, see
`listeners`, and on calls over HTTP/2 that hold much: small requests go on whatever others do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from overbook.gateway.snapshot.route_parts import Json

_MIB: Final = 1024 * 1024
_HEAP: Final = "envoy.resource_monitors.fixed_heap"
_TYPE: Final = "type.googleapis.com/envoy"
# Calls over HTTP/2 that hold less than 2 to the power of this are never ended for it: half a MiB.
_COUNTED_FROM: Final = 19
# Of a request with a large body in which nothing goes on, where memory is short.
STALLED_SECONDS: Final = 15


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """Of all clients together, or of each connection. ``memory``: bytes of Envoy's heap, as it uses them.

    ``head_seconds``, ``request_seconds``: for a request's head, and for all of it, from its first byte.
    ``idle_seconds``: of a connection without a request. ``unread_seconds``: of an answer that its client does not take.
    ``rate``: requests per second; 0: any number.
    """

    memory: int = 1024 * _MIB
    connections: int = 20_000
    streams: int = 1_000
    head_seconds: int = 10
    request_seconds: int = 330
    idle_seconds: int = 600
    unread_seconds: int = 60
    rate: int = 0

    def within(self, descriptors: int) -> EdgeLimits:
        """No more connections than a process may have descriptors for: half of all are for servers and questions."""
        if descriptors < 0:
            return self  # no limit
        return replace(self, connections=min(self.connections, descriptors // 2))


def overload_manager(limits: EdgeLimits) -> Json:
    """What Envoy does where its memory runs out, from the least to the last."""
    return {
        "refresh_interval": "0.1s",
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": _COUNTED_FROM},
        "resource_monitors": [
            {
                "name": _HEAP,
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": limits.memory,
                },
            },
        ],
        "actions": [
            {"name": "envoy.overload_actions.shrink_heap", "triggers": [_above(0.6)]},
            # A large body that does not go on must not keep its memory from others.
            {
                "name": "envoy.overload_actions.reduce_timeouts",
                "triggers": [_between(0.6, 0.8)],
                "typed_config": {
                    "@type": f"{_TYPE}.config.overload.v3.ScaleTimersOverloadActionConfig",
                    "timer_scale_factors": [
                        {
                            "timer": "HTTP_DOWNSTREAM_STREAM_IDLE",
                            "min_timeout": f"{STALLED_SECONDS}s",
                        }
                    ],
                },
            },
            # Over HTTP/2, the largest first.
            {
                "name": "envoy.overload_actions.reset_high_memory_stream",
                "triggers": [_between(0.6, 0.9)],
            },
            {
                "name": "envoy.overload_actions.stop_accepting_requests",
                "triggers": [_above(0.85)],
            },
        ],
        # Whoever still sends of a large body is told to come again.
        "loadshed_points": [
            {
                "name": "envoy.load_shed_points.http1_server_abort_dispatch",
                "triggers": [_above(0.9)],
            }
        ],
    }


def runtime(listener: str, limits: EdgeLimits) -> Json:
    """How many connections that listener takes. The overload manager could count those of all listeners, ours too, and
    only where it is not bypassed.
    """
    limit: Json = {
        f"envoy.resource_limits.listener.{listener}.connection_limit": limits.connections
    }
    return {"layers": [{"name": "limits", "static_layer": limit}]}


def _above(share: float) -> Json:
    return {"name": _HEAP, "threshold": {"value": share}}


def _between(low: float, high: float) -> Json:
    return {"name": _HEAP, "scaled": {"scaling_threshold": low, "saturation_threshold": high}}
