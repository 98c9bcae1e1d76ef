"""The eviction orders that a trace can be replayed with, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from overbook.residency.policy import EvictionOrder, LeastRecentlyUsed
from overbook.residency.worth import Worth
from overbook.simulator.contenders import DecayingCounts, GreedyDualSizeFrequency, S3Fifo, Sieve

DEFAULT: Final = "worth"
# `clairvoyant` is not among them: it needs the trace.
POLICIES: Final[dict[str, Callable[[], EvictionOrder]]] = {
    "lru": LeastRecentlyUsed,
    "gdsf": GreedyDualSizeFrequency,
    "sieve": Sieve,
    "s3-fifo": S3Fifo,
    "decaying-counts": DecayingCounts,
    "worth": Worth,
}
