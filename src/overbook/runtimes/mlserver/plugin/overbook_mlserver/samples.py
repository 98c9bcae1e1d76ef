"""Keeps one request of a model for which somebody asked, so that it can be asked again where the model is weighed.

Knows nothing of weighing. Requests that are large are let go by: nothing of them shall lie about. A model that leaves
before it was asked for is still waited for: where models come and go, most do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlserver.types import InferenceRequest

_MOST_ELEMENTS = 16_384
_MOST_BYTES = 256 << 10


class Samples:
    """By model's name."""

    def __init__(self) -> None:
        self._wanted: set[str] = set()
        self._found: dict[str, bytes] = {}

    def take(self, name: str) -> bytes | None:
        """A request in JSON, as the model gets it; None when none came since this was asked first."""
        found = self._found.pop(name, None)
        if found is None:
            self._wanted.add(name)
        return found

    def see(self, name: str, request: InferenceRequest) -> None:
        """This is about to be answered."""
        if name not in self._wanted:
            return
        if sum(math.prod(tensor.shape) for tensor in request.inputs) > _MOST_ELEMENTS:
            return
        try:
            text = request.model_dump_json(exclude_none=True).encode()
        except Exception:
            return  # it holds what no text can say
        if len(text) <= _MOST_BYTES:
            self._wanted.discard(name)
            self._found[name] = text
