"""Asks the inference server for what it measures, when somebody wants the page of metrics, and keeps what left.

One look serves all who ask within a second: nobody slows the server down by asking often. What a page means is in
`reading`, what is kept of it in `kept`; here are the calls, and who is told of what was left out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Container, Iterable, Mapping
from typing import Final, Protocol

from overbook import metrics
from overbook.agent.clock import Clock
from overbook.agent.model_metrics.kept import Kept, Room
from overbook.agent.model_metrics.parsing import Parser
from overbook.agent.model_metrics.reading import CLASH, SERVER, TOLD, Bounds, Reading, read
from overbook.agent.notices import Notices
from overbook.agent.servers.protocol import Exposition, ServerError
from overbook.metrics.families import Family, Labels, Names, Series

log = logging.getLogger(__name__)

# Of one look. A server that takes longer is busy with something else.
_LOOK_SECONDS: Final = 2.0
_FRESH_SECONDS: Final = 1.0
# Models between two looks at the event loop: some milliseconds.
_BITE: Final = 50


class Exposing(Protocol):
    """The inference server, as far as it matters here."""

    @property
    def pid(self) -> int | None: ...

    async def metrics(self, *, timeout: float) -> Exposition | None: ...


class ModelMetrics:
    """Of one server replica; a `Source` of the page, and the `Lives` of its adapter. ``names``: the page's.

    Nothing is known of any model before `of` says whose they are.
    """

    def __init__(
        self,
        notices: Notices,
        clock: Clock,
        names: Names,
        *,
        bounds: Bounds | None = None,
        room: Room | None = None,
    ) -> None:
        self._server: Exposing | None = None
        self._assigned: Callable[[], Container[str]] = frozenset
        self._notices = notices
        self._clock = clock
        self._names = names
        self._bounds = bounds or Bounds()
        self._kept = Kept(room or Room())
        self._parser = Parser()
        self._pid: int | None = None
        self._looking: asyncio.Task[None] | None = None
        self._looked = -_FRESH_SECONDS
        self._changed: set[str] = set()  # models that came or left while a look was under way
        self._counted: dict[str, set[str]] = {}  # reasons, by model
        self._shown: dict[str, list[Family]] = {}  # as it is on the page, while nothing changes

    def of(self, server: Exposing, assigned: Callable[[], Container[str]]) -> None:
        """``assigned``: the models of the replica."""
        self._server, self._assigned = server, assigned

    async def families(self) -> list[Family]:
        """All that is known of models that are assigned, and of the server, as it is now."""
        if self._looking is None and self._clock.now() - self._looked >= _FRESH_SECONDS:
            self._looking = asyncio.create_task(self._look(), name="look at metrics")
        if self._looking is not None:
            await asyncio.shield(self._looking)
        self._forget()
        found: list[Family] = []
        async for model in _by_bites(self._kept.models):
            if model not in self._shown:
                self._shown[model] = [
                    self._labelled(model, each) for each in self._kept.families(model)
                ]
            found += self._shown[model]
        return found

    def began(self, model: str, exposition: Exposition) -> None:
        self._notice_process()
        self._changed.add(model)
        reading = read(exposition, lambda name: name == model, self._bounds)
        self._kept.begin(model, self._claimed(model, reading))
        self._shown.pop(model, None)

    def ended(self, model: str, exposition: Exposition) -> None:
        self._notice_process()
        self._changed.add(model)
        if model in self._assigned():
            reading = read(exposition, lambda name: name == model, self._bounds)
            self._kept.see(model, self._claimed(model, reading))
            self._settle(reading)
        self._kept.end(model)
        self._shown.pop(model, None)

    def close(self) -> None:
        """The agent ends, and its series with it."""
        if self._looking is not None:
            self._looking.cancel()
        for model in list(self._kept.models | self._counted.keys()):
            self._forget_one(model)

    async def _look(self) -> None:
        try:
            if self._server is not None:
                await self._look_at(self._server)
        except ServerError as error:
            log.debug("metrics of the inference server: %s", error)
            self._kept.lose_sight()
            self._shown.clear()
            metrics.SERVER_METRICS_UP.labels(*self._notices.labels).set(0)
        finally:
            self._looking, self._looked = None, self._clock.now()

    async def _look_at(self, server: Exposing) -> None:
        self._changed.clear()
        exposition = await server.metrics(timeout=_LOOK_SECONDS)
        self._notice_process()
        if exposition is None:
            return
        pid, assigned = self._pid, self._assigned()
        reading = await asyncio.to_thread(
            read, exposition, lambda name: name in assigned, self._bounds, self._parser
        )
        metrics.SERVER_METRICS_UP.labels(*self._notices.labels).set(1)
        async for model in _by_bites(reading.families):
            # Of another process, or another life, it says nothing.
            if server.pid == pid and model not in self._changed:
                self._kept.see(model, self._claimed(model, reading))
                self._shown.pop(model, None)
        self._settle(reading)

    def _notice_process(self) -> None:
        """A process that ended takes with it what it counted."""
        pid = None if self._server is None else self._server.pid
        if pid != self._pid:
            self._pid = pid
            self._kept.end_all()
            self._shown.clear()

    def _settle(self, reading: Reading) -> None:
        """Tell what was left out, and forget whom there is no room for."""
        for (model, reason), count in reading.dropped.items():
            self._count(model, reason, count)
        for model in self._kept.make_room():
            self._forget_one(model)

    def _claimed(self, model: str, reading: Reading) -> Mapping[str, Family]:
        """Families of the model whose names nobody else on the page has for another kind."""
        found: dict[str, Family] = {}
        for family in reading.families.get(model, {}).values():
            if self._names.claim(self._user(model), family.name, family.kind):
                found[family.name] = family
            else:
                reading.dropped[model, CLASH] += len(family.series)
        return found

    def _user(self, model: str) -> str:
        return "/".join((*self._notices.labels, model))

    def _count(self, model: str, reason: str, count: int) -> None:
        known = self._counted.setdefault(model, set())
        labels = (*self._notices.labels, model, reason)
        metrics.MODEL_METRICS_DROPPED.labels(*labels).inc(count)
        if reason not in known:
            known.add(reason)
            why = TOLD[reason].format(series=self._bounds.series)
            self._notices.metrics_dropped(model, why)

    def _forget(self) -> None:
        """Models that are not assigned any more."""
        assigned = self._assigned()
        for model in self._kept.models | self._counted.keys():
            if model != SERVER and model not in assigned:
                self._forget_one(model)

    def _forget_one(self, model: str) -> None:
        self._kept.forget(model)
        self._shown.pop(model, None)
        self._names.release(self._user(model))
        for reason in self._counted.pop(model, ()):
            metrics.MODEL_METRICS_DROPPED.remove(*self._notices.labels, model, reason)

    def _labelled(self, model: str, family: Family) -> Family:
        server, replica = self._notices.labels
        ours: Labels = (("server", server), ("replica", replica))
        if model:
            ours = (("model", model), *ours)
        series = [Series(name, (*ours, *labels), value) for name, labels, value in family.series]
        return Family(family.name, family.kind, family.documentation, series)


async def _by_bites(models: Iterable[str]) -> AsyncIterator[str]:
    """All of them; what else the event loop has to do comes in between."""
    for place, model in enumerate(list(models)):
        if place % _BITE == _BITE - 1:
            await asyncio.sleep(0)
        yield model
