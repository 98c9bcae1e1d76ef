"""Requests that wait for a model: who, until when, and how many at most. Knows nothing of memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from overbook.residency.events import ModelName, RequestId


class WaitingRoom:
    """Waiters by model in order of arrival, bounded in number, with a deadline each (seconds)."""

    __slots__ = ("_by_model", "_deadlines", "_model_of")

    def __init__(self) -> None:
        self._by_model: dict[ModelName, dict[RequestId, None]] = {}
        self._model_of: dict[RequestId, ModelName] = {}
        self._deadlines: list[tuple[float, RequestId]] = []

    def __len__(self) -> int:
        return len(self._model_of)

    def __contains__(self, request: RequestId) -> bool:
        return request in self._model_of

    def waiting_for(self, model: ModelName) -> int:
        return len(self._by_model.get(model, ()))

    def admit(self, request: RequestId, model: ModelName, deadline: float) -> None:
        self._by_model.setdefault(model, {})[request] = None
        self._model_of[request] = model
        heapq.heappush(self._deadlines, (deadline, request))

    def leave(self, request: RequestId) -> ModelName | None:
        """Forget the request; the model it waited for, or None when it does not wait."""
        model = self._model_of.pop(request, None)
        if model is None:
            return None
        requests = self._by_model[model]
        del requests[request]
        if not requests:
            del self._by_model[model]
        return model

    def release(self, model: ModelName) -> list[RequestId]:
        """Everyone who waited for the model, first come first; they wait no longer."""
        requests = list(self._by_model.pop(model, ()))
        for request in requests:
            del self._model_of[request]
        return requests

    def next_deadline(self) -> float | None:
        # Ended requests stay in the heap until they surface: removal inside a heap would cost O(n).
        while self._deadlines and self._deadlines[0][1] not in self._model_of:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def expired(self, now: float) -> Iterator[tuple[RequestId, ModelName]]:
        """Requests whose deadline has passed; each is forgotten as it is yielded."""
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            request = heapq.heappop(self._deadlines)[1]
            model = self._model_of[request]
            self.leave(request)
            yield request, model
