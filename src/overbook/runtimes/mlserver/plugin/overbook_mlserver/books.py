"""Keeps apart, by model, what models measure: `mlserver.register` and `mlserver.log`, and metrics of prometheus_client.

Theory of operation. MLServer has one registry for all models, and prometheus_client one for the process. In these a
name is whose came first: another model's request with it fails, a model that is loaded again cannot make its metrics
anew, and what was made stays for ever. Here each load of a model has a `Book`, with a registry of its own that ends
with the model; the two registries hand on to the book of the model in whose context they are called. So a model is
known by its book, whatever labels it writes, and whatever it does in there is its own affair.

A book also counts the model's requests, under the names that MLServer has for that. MLServer's own counters are off:
they keep objects for each model for ever, and cost ten times as much.

What is shown is bounded here already, since making text of it takes the interpreter from everybody's requests. Text is
made in a thread. A gauge may be a function of the model's, and that may hang: then its book is passed over until the
function returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import mlserver.metrics
import mlserver.metrics.context
import mlserver.metrics.registry
import prometheus_client
from mlserver.context import model_name_var
from mlserver.metrics.registry import MetricsRegistry
from prometheus_client.metrics import MetricWrapperBase

from overbook_mlserver.offload import in_thread

# Series of one model of which text is made, some ten milliseconds' work. The agent shows fewer, and says what it leaves
# out.
_MOST_SERIES = 3000
# The agent waits for a little longer than for all of them.
_ALL_SECONDS = 1.8
_BOOK_SECONDS = 1.0
_GLANCE_SECONDS = 0.1
# Why series are left out, in the agent's words.
FLOOD, UNREADABLE, HANGS = "flood", "unreadable", "hangs"
_COUNTING = ("counter", "histogram", "summary")
_WITH_SUM = ("histogram", "summary")
_SUCCESS, _FAILURE, _SECONDS = range(3)


class Book:
    """Of one load of a model. ``counts``: requests that went well, that failed, and the seconds of all."""

    __slots__ = ("_registry", "counts", "hanging")

    def __init__(self) -> None:
        # Numbers in an array are no objects: one that outlives a request would keep what lies around it.
        self.counts = array("d", (0.0, 0.0, 0.0))
        self._registry: MetricsRegistry | None = None
        self.hanging = False

    @property
    def registry(self) -> MetricsRegistry:
        if self._registry is None:
            self._registry = MetricsRegistry(auto_describe=True)
        return self._registry

    def asked(self, seconds: float, *, failed: bool) -> None:
        counts = self.counts
        counts[_FAILURE if failed else _SUCCESS] += 1
        counts[_SECONDS] += seconds

    def shown(self, *, leaving: bool = False) -> dict[str, Any]:
        """{"text": in Prometheus' format, "dropped": {WHY: SERIES}}. ``leaving``: only what it has counted."""
        parts, dropped = [_requests(self.counts)], {}
        if self._registry is not None and not (leaving and self.hanging):
            _write(_collectors(self._registry), parts, dropped, leaving=leaving)
        return {"text": "".join(parts), "dropped": dropped}


class Books:
    """By model. Made once in a process, as it changes what MLServer's and prometheus_client's registries do."""

    def __init__(self) -> None:
        self._books: dict[str, Book] = {}
        self._left: dict[str, dict[str, Any]] = {}
        self._opened: contextvars.ContextVar[Book | None] = contextvars.ContextVar(
            "book", default=None
        )
        prometheus_client.disable_created_metrics()
        _hand_on(prometheus_client.REGISTRY, self._registry)
        _hand_on(mlserver.metrics.REGISTRY, self._registry)

    def of(self, name: str) -> Book | None:
        return self._books.get(name)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Book]:
        """A new book for all that a load begins, before anybody knows whether it ends well."""
        book = Book()
        token = self._opened.set(book)
        try:
            yield book
        finally:
            self._opened.reset(token)

    def begin(self, name: str, book: Book) -> None:
        """The load ended well: what it replaces has left."""
        self.end(name)
        self._books[name] = book

    def end(self, name: str) -> None:
        book = self._books.pop(name, None)
        if book is not None:
            self._left[name] = book.shown(leaving=True)

    def take_left(self, name: str) -> dict[str, Any] | None:
        """What the model that has just left had counted at its end, once."""
        return self._left.pop(name, None)

    async def shown(self) -> dict[str, dict[str, Any]]:
        """What each model shows (see `Book.shown`)."""
        look = _Look([(name, book) for name, book in self._books.items() if not book.hanging])
        hanging = {
            name: {"text": _requests(book.counts), "dropped": {HANGS: 1}}
            for name, book in self._books.items()
            if book.hanging
        }
        work = asyncio.ensure_future(in_thread(look.run))
        end = time.monotonic() + _ALL_SECONDS
        while not work.done() and not look.hangs and time.monotonic() < end:
            await asyncio.wait({work}, timeout=_GLANCE_SECONDS)
        look.give_up()
        return hanging | dict(look.found)

    def _registry(self) -> MetricsRegistry | None:
        """Of the model in whose context this is; None: of none."""
        book = self._opened.get()
        if book is None:
            name = model_name_var.get("")
            # What a request measures that outlives its model goes nowhere.
            book = self._books.get(name) or (Book() if name else None)
        return None if book is None else book.registry


class _Look:
    """One look at all books, in a thread. Who waits for it may give it up."""

    def __init__(self, books: list[tuple[str, Book]]) -> None:
        self._books = books
        self._at: tuple[Book, float] | None = None
        self._given_up = False
        self.found: dict[str, dict[str, Any]] = {}

    @property
    def hangs(self) -> bool:
        at = self._at
        return at is not None and time.monotonic() - at[1] > _BOOK_SECONDS

    def give_up(self) -> None:
        """Nobody waits for the rest, if there is any. A book that hangs is passed over until it does not."""
        self._given_up = True
        at = self._at
        if at is not None and self.hangs:
            at[0].hanging = True

    async def run(self) -> None:
        for name, book in self._books:
            if self._given_up:
                return
            self._at = book, time.monotonic()
            shown = book.shown()
            self._at = None
            book.hanging = False
            self.found[name] = shown


def _hand_on(
    registry: Any,
    of_model: Callable[[], MetricsRegistry | None],
) -> None:
    """From now on the calls on it that a model makes go to the model's own."""
    for method in ("register", "unregister", "exists", "get", "collect"):
        plain = getattr(registry, method, None)
        if plain is not None:
            setattr(registry, method, _handed_on(method, plain, of_model))


def _handed_on(
    method: str, plain: Callable[..., Any], of_model: Callable[[], MetricsRegistry | None]
) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        own = of_model()
        return plain(*args) if own is None else getattr(own, method)(*args)

    return call


def _collectors(registry: MetricsRegistry) -> list[Any]:
    with registry._lock:
        return list(registry._collector_to_names)


def _write(
    collectors: Iterable[Any], parts: list[str], dropped: dict[str, int], *, leaving: bool
) -> None:
    room = _MOST_SERIES
    for collector in collectors:
        if not isinstance(collector, MetricWrapperBase):
            # A collector of the model's own may do anything, and says of nothing how much it is.
            dropped[UNREADABLE] = dropped.get(UNREADABLE, 0) + 1
            continue
        if leaving and collector._type not in _COUNTING:
            continue
        series = _series_of(collector)
        if series > room:
            dropped[FLOOD] = dropped.get(FLOOD, 0) + series
            continue
        room -= series
        try:
            text = prometheus_client.generate_latest(_One(collector)).decode()
        # A gauge may be a function of the model's.
        except Exception:
            dropped[UNREADABLE] = dropped.get(UNREADABLE, 0) + series
            continue
        parts.append(text)


def _series_of(collector: MetricWrapperBase) -> int:
    labelled = collector._labelnames and not collector._labelvalues
    sets = len(collector._metrics) if labelled else 1
    of_one = len(getattr(collector, "_upper_bounds", ())) + (collector._type in _WITH_SUM) * 2
    return sets * max(1, of_one)


class _One:
    """A registry with one collector."""

    def __init__(self, collector: Any) -> None:
        self._collector = collector

    def collect(self) -> Any:
        return self._collector.collect()


def _requests(counts: array[float]) -> str:
    success, failure, seconds = counts
    return (
        "# HELP model_infer_request_success_total Model infer request success count\n"
        "# TYPE model_infer_request_success_total counter\n"
        f"model_infer_request_success_total {success!r}\n"
        "# HELP model_infer_request_failure_total Model infer request failure count\n"
        "# TYPE model_infer_request_failure_total counter\n"
        f"model_infer_request_failure_total {failure!r}\n"
        "# HELP model_infer_request_duration Model infer request duration\n"
        "# TYPE model_infer_request_duration summary\n"
        f"model_infer_request_duration_count {success + failure!r}\n"
        f"model_infer_request_duration_sum {seconds!r}\n"
    )
