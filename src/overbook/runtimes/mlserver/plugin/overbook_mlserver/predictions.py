"""Which predictions run beside the event loop, in a thread, so that they hold up nobody else's.

MLServer predicts on its event loop. Two kinds leave it:

- Those of frameworks that let go of the interpreter lock while they compute: where one call of native code does all
  of it, a thread costs a hop. (ONNX models do the same by themselves, see `onnx`.)
- The first after a load that was not short, of any framework: data that was just read is in no cache, and who asks has
  waited for the load, beside which it is little.

All others stay: scikit-learn's are many short steps that need the interpreter in between, and a thread that fights for
it makes both slower (see `short_loads`). So do models with code of their own, which may be bound to the loop.
"""

from __future__ import annotations

import asyncio
import functools
import math
import os
import time
from collections.abc import Awaitable, Callable
from weakref import WeakKeyDictionary

from mlserver.model import MLModel
from mlserver.settings import ModelSettings
from mlserver.types import InferenceRequest, InferenceResponse

from overbook_mlserver import calls, load_warnings
from overbook_mlserver.books import Books
from overbook_mlserver.offload import in_thread
from overbook_mlserver.prediction_cost import PredictionCost
from overbook_mlserver.repository import IsolatedSettings
from overbook_mlserver.samples import Samples
from overbook_mlserver.short_loads import ShortLoads
from overbook_mlserver.unanswered import unmarked

_LET_GO = ("mlserver_xgboost.", "mlserver_lightgbm.", "overbook_mlserver.catboost.")
_BY_ITSELF = "overbook_mlserver.onnx."
_Infer = Callable[[InferenceRequest, str, str | None], Awaitable[InferenceResponse]]


class Predictions:
    """``held``: the model of a name, None when there is none. ``infer``: the data plane's."""

    def __init__(
        self,
        held: Callable[[str], MLModel | None],
        short_loads: ShortLoads,
        samples: Samples,
        books: Books,
        infer: _Infer,
    ) -> None:
        self._samples = samples
        self._books = books
        self._held = held
        self._short_loads = short_loads
        self._infer = infer
        # Of models that were asked already.
        self._costs: WeakKeyDictionary[MLModel, PredictionCost] = WeakKeyDictionary()
        self._at_once = asyncio.Semaphore(max(2, os.cpu_count() or 2))

    async def infer(
        self, payload: InferenceRequest, name: str, version: str | None = None
    ) -> InferenceResponse:
        """What the data plane's does."""
        seen = self._samples.see(name, payload)
        book, begun = self._books.of(name), time.perf_counter()
        failed = True
        try:
            answer = await calls.during(calls.REQUEST, name, self._answer(payload, name, version))
            failed = False
        except Exception as error:
            if (model := self._held(name)) is not None:
                load_warnings.explain(model, error)
            raise
        finally:
            if book is not None:
                book.asked(time.perf_counter() - begun, failed=failed)
        if seen is not None:
            self._samples.keep(name, seen)
        return unmarked(answer)

    async def _answer(
        self, payload: InferenceRequest, name: str, version: str | None
    ) -> InferenceResponse:
        model = self._held(name)
        if model is None or not _may_leave(model.settings):
            return await self._infer(payload, name, version)
        cost = self._costs.get(model)
        first = cost is None
        if cost is None:
            cost = self._costs[model] = PredictionCost()
        lets_go = model.settings.implementation_.startswith(_LET_GO)
        long_load = first and not self._short_loads.expected(model.settings)
        # An unload must free it even while this request goes on.
        del model
        if not lets_go and not long_load:
            return await self._infer(payload, name, version)
        elements = sum(math.prod(tensor.shape) for tensor in payload.inputs)
        work = functools.partial(self._timed, cost, elements, payload, name, version)
        if cost.is_short(elements):
            return await work()
        async with self._at_once:
            return await in_thread(work)

    async def _timed(
        self,
        cost: PredictionCost,
        elements: int,
        payload: InferenceRequest,
        name: str,
        version: str | None,
    ) -> InferenceResponse:
        begun = time.perf_counter()
        answer = await self._infer(payload, name, version)
        cost.took(elements, time.perf_counter() - begun)
        return answer


def _may_leave(settings: ModelSettings) -> bool:
    return (
        isinstance(settings, IsolatedSettings)
        and settings.space is None
        and not settings.load_on_loop
        and not settings.implementation_.startswith(_BY_ITSELF)
        # A batch is gathered on the loop.
        and (settings.max_batch_size or 0) <= 1
    )
