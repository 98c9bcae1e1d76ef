"""Requests that were granted and not passed on yet: their answer is on its way, or a gateway holds it (law 9)."""

from __future__ import annotations

from overbook.residency.events import ModelName, RequestId


class Granted:
    """Granted requests by model. Every call is O(1), but for `void`, which costs what it drops."""

    __slots__ = ("_by_model", "_model_of")

    def __init__(self) -> None:
        self._by_model: dict[ModelName, set[RequestId]] = {}
        self._model_of: dict[RequestId, ModelName] = {}

    def __contains__(self, request: RequestId) -> bool:
        return request in self._model_of

    def of(self, model: ModelName) -> int:
        return len(self._by_model.get(model, ()))

    def add(self, request: RequestId, model: ModelName) -> None:
        self._by_model.setdefault(model, set()).add(request)
        self._model_of[request] = model

    def passed(self, request: RequestId) -> ModelName | None:
        """Strike the request off; the model it was granted, or None when it is not known or void."""
        model = self._model_of.pop(request, None)
        if model is not None:
            requests = self._by_model[model]
            requests.discard(request)
            if not requests:
                del self._by_model[model]
        return model

    def void(self, model: ModelName) -> None:
        """The model is not in memory any more: what was granted means nothing now."""
        for request in self._by_model.pop(model, ()):
            del self._model_of[request]
