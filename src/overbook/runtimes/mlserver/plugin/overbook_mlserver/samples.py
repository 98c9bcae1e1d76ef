"""Keeps the first request that each model answered until it is taken, to be asked again where the model is weighed.

Knows nothing of weighing. Requests that are large are let go by: nothing of them shall lie about.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlserver.types import InferenceRequest

_MOST_ELEMENTS = 1 << 16
_MOST_BYTES = 1 << 20
# Of all that wait to be taken.
_MOST_BYTES_TOGETHER = 4 << 20
# Names of which one was kept already. With one more all are forgotten, and kept anew.
_REMEMBERED = 50_000


class Samples:
    """By model's name."""

    def __init__(self) -> None:
        self._kept: set[str] = set()
        self._waiting: dict[str, bytes] = {}
        self._bytes = 0

    def take(self, name: str) -> bytes | None:
        """A request in JSON, as the model gets it; None when there was none yet, or it was taken before."""
        found = self._waiting.pop(name, None)
        self._bytes -= len(found or b"")
        return found

    def see(self, name: str, request: InferenceRequest) -> bytes | None:
        """What there is to `keep` of a request that is about to be answered; None: nothing.

        Taken before the answer, which may change the request.
        """
        if name in self._kept or self._bytes >= _MOST_BYTES_TOGETHER:
            return None
        if sum(math.prod(tensor.shape) for tensor in request.inputs) > _MOST_ELEMENTS:
            return None
        try:
            text = request.model_dump_json(exclude_none=True).encode()
        except Exception:
            return None  # it holds what no text can say
        return None if len(text) > _MOST_BYTES else text

    def keep(self, name: str, text: bytes) -> None:
        """It was answered well: one that failed shows nothing of what the model allocates."""
        if name in self._kept:
            return
        if len(self._kept) >= _REMEMBERED:
            self._kept.clear()
        self._kept.add(name)
        self._bytes += len(text)
        self._waiting[name] = text
