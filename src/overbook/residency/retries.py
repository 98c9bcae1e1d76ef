"""When a model whose load failed is tried again by itself (law 7). Pure.

The pause doubles with each failure in a row. Where the failure lies in the content, no more than `Limits.retries` tries
follow the first: then the model is given up, which is to say that it stays failed, and requests are told so at once,
until its content changes or a person wants it tried. What may pass by itself is tried for ever, and so is a content
that was loaded before and stands for a newer one: it could be loaded, so something else is wrong.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping

from overbook.residency.entry import Entry
from overbook.residency.events import ModelName
from overbook.residency.good import Good
from overbook.residency.replica import Limits


class Retries:
    """Of one server replica. Times in seconds on the caller's clock."""

    __slots__ = ("_due", "_limits")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._due: list[tuple[float, ModelName]] = []

    def failed(self, entry: Entry, reason: str, now: float, *, passing: bool) -> None:
        """A load of its newest content failed; ``passing``: for a reason that does not lie in the content."""
        entry.failures += 1
        entry.lasting = 0 if passing else entry.lasting + 1
        entry.failure = entry.reason = reason
        if entry.lasting > self._limits.retries:
            entry.retry_at = math.inf
            return
        entry.retry_at = now + self._limits.backoff(entry.failures)
        heapq.heappush(self._due, (entry.retry_at, entry.model))

    def held_back(self, entry: Entry, reason: str, until: float) -> None:
        """Its newest content must not be loaded before then, whatever is learned of its size."""
        entry.failures += 1
        entry.failure = entry.reason = reason
        entry.retry_at, entry.barred = until, True
        if until < math.inf:
            heapq.heappush(self._due, (until, entry.model))

    def good_held_back(self, model: ModelName, good: Good, reason: str, until: float) -> None:
        """Nor what was loaded last."""
        good.failures, good.failure, good.retry_at = good.failures + 1, reason, until
        if until < math.inf:
            heapq.heappush(self._due, (until, model))

    def good_failed(self, model: ModelName, good: Good, reason: str, now: float) -> None:
        """A load of what was loaded last failed."""
        good.failures, good.failure = good.failures + 1, reason
        good.retry_at = now + self._limits.backoff(good.failures)
        heapq.heappush(self._due, (good.retry_at, model))

    def forgive(self, entry: Entry) -> None:
        """Nothing is known against its newest content any more."""
        entry.failures, entry.lasting, entry.barred = 0, 0, False
        entry.retry_at, entry.failure, entry.reason = -math.inf, "", ""

    def forgive_good(self, entry: Entry) -> None:
        """Nor against what was loaded last."""
        if (good := entry.good) is not None:
            good.failures, good.retry_at, good.failure = 0, -math.inf, ""

    def next(self) -> float:
        """When the next try is due; inf: none is."""
        return self._due[0][0] if self._due else math.inf

    def take_due(self, entries: Mapping[ModelName, Entry], now: float) -> Iterator[Entry]:
        """Those whose pause is over."""
        while self._due and self._due[0][0] <= now:
            due, model = heapq.heappop(self._due)
            entry = entries.get(model)
            if entry is None:
                continue
            if due == entry.retry_at or (entry.good is not None and due == entry.good.retry_at):
                yield entry
