"""Connections to the API are a share of what the process may have open."""

from __future__ import annotations

import pytest

from overbook.scheduler.web.limits import Limits, within


@pytest.mark.parametrize(
    ("descriptors", "connections", "waiting"),
    [(131_072, 1024, 256), (1024, 256, 128), (256, 64, 32), (40, 16, 8)],
)
def test_most_descriptors_are_left_to_others(
    descriptors: int, connections: int, waiting: int
) -> None:
    limits = within(descriptors)
    assert (limits.connections, limits.waiting) == (connections, waiting)
    assert limits.manifest_bytes == Limits().manifest_bytes
