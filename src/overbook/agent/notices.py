"""What happened on this replica, for the scheduler and the metrics: which models changed, and the events.

Only gathers: `link` decides when it is sent. Bounded, so a scheduler that is away costs no memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from overbook import metrics
from overbook.agent.clock import Clock
from overbook.artifacts.transfer import Brought
from overbook.manifests.quantities import format_bytes
from overbook.residency.effects import Cause
from overbook.residency.events import ModelName
from overbook.wire import scheduler_pb2 as pb

log = logging.getLogger(__name__)

_MAX_EVENTS: Final = 1000
_MAX_WARNINGS: Final = 8  # of one model
NOT_AGAIN: Final = "it is not retried by itself: fix it and apply it, or run: overbook activate"

# Why a model left memory, for people.
EVICTED: Final[Mapping[Cause, str]] = {
    Cause.PRESSURE: "evicted to make room for another model",
    Cause.AHEAD: "evicted to keep room for the next model",
    Cause.FAIRNESS: "evicted for a model that had waited too long",
    Cause.REQUESTED: "evicted on request",
    Cause.REMOVED: "unloaded because it was deleted",
    Cause.UPDATED: "unloaded to make room for its new content",
    Cause.BUDGET: "evicted because the budget was lowered",
    Cause.SURPRISE: "evicted because a model takes more memory than was known",
    Cause.LOST: "evicted because the server does not give all its memory back",
    Cause.GUARD: "evicted because the machine is running short of memory",
    Cause.RECYCLED: "unloaded because the server's process is being replaced",
    Cause.CALLEE: "unloaded with a model that it calls",
    Cause.DISK: "evicted so that its files can leave the disk for others",
}

# The same, where it is known for which one.
FOR_ONE: Final[Mapping[Cause, str]] = {
    Cause.PRESSURE: "evicted to make room for {}",
    Cause.FAIRNESS: "evicted for {}, which had waited too long",
}


@dataclass(frozen=True, slots=True)
class Warned:
    """What may be wrong with one content of a model, in words."""

    content: str
    texts: tuple[str, ...]


@dataclass(slots=True)
class Notices:
    """``dirty``: models whose state changed; ``used_only``: those of which only usage changed."""

    server: str
    replica: int
    clock: Clock
    dirty: set[str] = field(default_factory=set)
    used_only: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    compared: set[str] = field(
        default_factory=set
    )  # models with a series of measured minus declared
    events: deque[pb.EventReport] = field(default_factory=lambda: deque(maxlen=_MAX_EVENTS))
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    failures: dict[str, tuple[str, bool]] = field(default_factory=dict)  # of loads, as last told
    warnings: dict[str, Warned] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, str]:
        return (self.server, str(self.replica))

    def changed(self, model: str) -> None:
        self.gone.discard(model)
        self.dirty.add(model)
        self.wake.set()

    def used(self, model: str) -> None:
        self.used_only.add(model)

    def forgotten(self, model: str) -> None:
        self.dirty.discard(model)
        self.used_only.discard(model)
        self.gone.add(model)
        self.failures.pop(model, None)
        self.warnings.pop(model, None)
        if model in self.compared:
            self.compared.discard(model)
            metrics.MEASURED_MINUS_DECLARED.remove(model)
        self.wake.set()

    def measured(self, model: str, measured: int | None, declared: int | None) -> None:
        """What it takes is known, or known better. Bytes."""
        if measured is not None and declared is not None:
            metrics.MEASURED_MINUS_DECLARED.labels(model).set(measured - declared)
            self.compared.add(model)
        self.changed(model)

    def loaded(self, model: ModelName, seconds: float) -> None:
        metrics.LOADS.labels(*self.labels, "ok").inc()
        self.failures.pop(model, None)
        self._event("ModelLoaded", model, f"loaded in {seconds * 1000:.0f} ms")
        self.changed(model)

    def load_failed(self, model: ModelName, reason: str, *, final: bool) -> None:
        """``final``: it is not tried again by itself. The same again at the next try is no news, and no event."""
        metrics.LOADS.labels(*self.labels, "failed").inc()
        if self.failures.get(model) != (reason, final):
            self.failures[model] = reason, final
            advice = f"; {NOT_AGAIN} {model}" if final else ""
            self._event("ModelLoadFailed", model, f"{reason}{advice}", warning=True)
        self.changed(model)

    def warned(self, model: str, content: str, texts: Iterable[str]) -> None:
        """What may be wrong with it although it can be served. Of another content than before, all is news."""
        before = self.warnings.get(model)
        known = before.texts if before is not None and before.content == content else ()
        new = [each for each in dict.fromkeys(texts) if each not in known]
        self.warnings[model] = Warned(content, (*known, *new)[:_MAX_WARNINGS])
        for each in new[: max(0, _MAX_WARNINGS - len(known))]:
            self._event("ModelWarning", model, each, warning=True)
        if self.warnings[model] != before:
            self.changed(model)

    def forgiven(self, model: ModelName) -> None:
        """There is another content, or a person asked: whatever happens next is news."""
        self.failures.pop(model, None)

    def artifact_fetching(self, model: str, storage_uri: str, total: int | None) -> None:
        """Its files are on their way from elsewhere. ``total``: bytes, None where the source does not say."""
        much = "files" if total is None else format_bytes(total)
        self._event("ArtifactFetching", model, f"{much} from {storage_uri}")
        self.changed(model)

    def artifact_fetched(self, model: str, storage_uri: str, brought: Brought) -> None:
        """Its files came from elsewhere."""
        took = f"{brought.seconds:.0f}" if brought.seconds >= 10 else f"{brought.seconds:.2g}"
        rate = format_bytes(int(brought.rate))
        told = f"{format_bytes(brought.bytes)} from {storage_uri} in {took} s ({rate}/s)"
        self._event("ArtifactFetched", model, told)
        self.changed(model)

    def files_left(self, model: str) -> None:
        """They had to make room on the disk."""
        told = (
            "its files left the disk for others; they are fetched again when a request needs them"
        )
        self._event("FilesLeft", model, told)
        self.changed(model)

    def artifact_changed(self, model: str, storage_uri: str) -> None:
        """Its files had to be fetched, and others were there than somebody had seen."""
        told = (
            f"{storage_uri} has other files than when the model was applied, and these are served now; an address that "
            "names a revision or a digest cannot change like that"
        )
        self._event("ArtifactChanged", model, told, warning=True)
        self.changed(model)

    def metrics_dropped(self, model: str, why: str) -> None:
        """Series that it measures are left out of the page of metrics. "": those of no model."""
        whose = (
            "its metrics"
            if model
            else "the metrics of the server, and of models that do not say whose they are,"
        )
        told = f"some of {whose} are left out: {why}"
        self._event("ModelMetricsDropped", model, told, warning=True)
        self.wake.set()

    def lost(self, model: ModelName) -> None:
        metrics.MODELS_LOST.labels(*self.labels).inc()
        self._event("ModelLost", model, "the process that served it died", warning=True)
        self.wake.set()

    def accused(self, model: ModelName, reason: str, *, final: bool) -> None:
        """The process ended in its code, or perhaps in its code. ``final``: it is held back until a person frees it."""
        self._event("ModelHeldBack" if final else "ModelSuspected", model, reason, warning=True)
        self.changed(model)

    def unload_failed(self, model: ModelName, problem: str) -> None:
        self._event("ModelUnloadFailed", model, f"it is unloaded, but {problem}", warning=True)
        self.wake.set()

    def evicted(self, model: ModelName, cause: Cause, room_for: ModelName | None = None) -> None:
        """``room_for``: the model whose load needs its bytes, where it is one."""
        metrics.EVICTIONS.labels(*self.labels, cause.value).inc()
        told = EVICTED[cause]
        if room_for is not None and cause in FOR_ONE:
            told = FOR_ONE[cause].format(room_for)
        self._event("ModelEvicted", model, told)
        self.changed(model)

    def artifact_failed(self, model: str, reason: str) -> None:
        self._event("ArtifactFailed", model, reason, warning=True)
        self.changed(model)

    def artifact_damaged(self, model: str, path: str) -> None:
        self._event("ArtifactDamaged", model, f"{path} is damaged; fetching it again", warning=True)
        self.wake.set()

    def not_kept(self, trouble: str) -> None:
        """A file of what was learned is of no use."""
        log.warning("%s", trouble)
        self.server_event("StateNotKept", trouble, warning=True)

    def server_event(self, reason: str, message: str, *, warning: bool = False) -> None:
        self._event(reason, "", message, warning=warning)
        self.wake.set()

    def _event(self, reason: str, model: str, message: str, *, warning: bool = False) -> None:
        report = pb.EventReport(
            time=self.clock.wall(), warning=warning, reason=reason, model=model, message=message
        )
        self.events.append(report)
