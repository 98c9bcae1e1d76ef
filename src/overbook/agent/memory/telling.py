"""What measuring tells others, and asks them: the ledger's charges, bytes to withhold, requests to weigh with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Telling:
    """``charged``: bytes of all models in the ledger, with what loads take for a moment, and of one. ``withhold``:
    bytes that no model may have.
    """

    charged: Callable[[], int]
    charged_for: Callable[[str], int]
    withhold: Callable[[int], None]
    measured: Callable[[], None]

    def charged_beside(self, name: str) -> int:
        """Bytes of all models but this one."""
        return self.charged() - self.charged_for(name)


@dataclass(frozen=True, slots=True)
class Sampling:
    """``sample``: a request that a model got, by its name. ``sampled``: who wants it, by the content's digest."""

    sample: Callable[[str], Awaitable[bytes | None]]
    sampled: Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class Work:
    """An unload under way. ``measure``: the server shall say what came back, and ``said`` is told that."""

    measure: bool
    said: Callable[[int | None], None]
