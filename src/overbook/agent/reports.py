"""What the scheduler, and through it people, are told of this replica: reports built from the agent's state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from overbook import metrics
from overbook.agent.actor import Actor
from overbook.agent.assigned import Assignment
from overbook.agent.assignments import Assignments
from overbook.agent.clock import Clock
from overbook.agent.memory.readings import Reading
from overbook.agent.notices import Warned
from overbook.agent.servers.attached.foreign import Foreign
from overbook.agent.servers.protocol import InferenceServer
from overbook.agent.supervisor import Phase, Supervisor
from overbook.agent.verification import Standing, Verdict
from overbook.artifacts.address import is_remote
from overbook.artifacts.space import Usage
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName
from overbook.residency.states import CHARGED, State
from overbook.wire import common_pb2 as common
from overbook.wire import scheduler_pb2 as pb

_STATES: Final = {
    State.COLD: common.COLD,
    State.LOADING: common.LOADING,
    State.RESIDENT: common.RESIDENT,
    State.RELOADING: common.RESIDENT,
    State.DRAINING: common.DRAINING,
    State.UNLOADING: common.UNLOADING,
    State.FAILED: common.FAILED,
}


class Judge(Protocol):
    """`Verifier.of`."""

    def __call__(self, model: str, *, wanted: bool) -> Verdict: ...


# Seconds.
_DISK_PACE: Final = 2.0
_IN_MEMORY: Final = CHARGED - {State.LOADING}


class Reporter:
    """Reads; changes nothing. ``process_bytes`` is what the memory watch measured last, None when unknown."""

    def __init__(
        self,
        actor: Actor,
        assignments: Assignments,
        supervisor: Supervisor,
        server: InferenceServer,
        clock: Clock,
        verdict: Judge,
        warnings: Mapping[str, Warned],
        foreign: Callable[[], Iterable[Foreign]] = tuple,
        *,
        disk: Callable[[], Usage],
    ) -> None:
        self._disk = disk
        self._warnings = warnings
        self._foreign = foreign
        self._verdict = verdict
        self._actor = actor
        self._assignments = assignments
        self._supervisor = supervisor
        self._server = server
        self._clock = clock
        self.process_bytes: int | None = None
        self._activity = (-1, -1)
        self._disk_told: tuple[float, pb.DiskUsage] | None = None

    def model(self, name: str) -> pb.ModelReport | None:
        """None when the model is no longer assigned here."""
        assignment = self._assignments.assigned.get(name)
        if assignment is None:
            return None
        report = pb.ModelReport(
            name=name,
            generation=assignment.spec.generation,
            state=common.FAILED
            if assignment.failure and not assignment.registered
            else common.COLD,
            available=assignment.current,
            size_bytes=self._assignments.sizing.charge(assignment),
            last_error=assignment.failure,
            failed=bool(assignment.failure),
            final=assignment.final,
            warnings=self._warnings[name].texts if name in self._warnings else (),
            files_here=self._assignments.is_here(assignment),
            unverified=assignment.delay,
            retry_at=0.0
            if assignment.retry_at is None
            else self._clock.to_wall(assignment.retry_at),
        )
        self._add_files(report, assignment)
        if assignment.declared is not None:
            report.declared_bytes = assignment.declared
        measured = self._assignments.sizing.measured(assignment)
        if measured is not None:
            report.measured_bytes = measured
        self._add_residency(report, assignment)
        return report

    def _add_residency(self, report: pb.ModelReport, assignment: Assignment) -> None:
        entry = self._actor.entries.get(ModelName(report.name))
        if entry is None:
            return
        outdated = entry.state in _IN_MEMORY and entry.stale
        if assignment.registered:
            report.state = _STATES[entry.state]
        report.charged_bytes = self._actor.charged(entry.model)
        report.last_used = self._clock.to_wall(entry.last_used)
        report.in_flight = entry.in_flight
        report.loads = entry.loads
        report.evictions = entry.evictions
        # A failure lasts until a load succeeds or the content changes, also while the next try is under way. And
        # who asks for the newest content is not answered by it before the swap.
        verdict = self._verdict(report.name, wanted=not assignment.spec.take_unverified)
        can_serve = verdict.standing in (Standing.VERIFIED, Standing.UNVERIFIED)
        report.available = assignment.current and not outdated and not entry.reason and can_serve
        report.unverified = verdict.reason if assignment.current else assignment.delay
        # What is said against older files is not said against those that are on their way.
        if entry.reason and assignment.current:
            report.last_error = entry.reason
            report.failed = True
            report.final = entry.given_up
        elif verdict.standing is Standing.FAILED and assignment.current:
            report.last_error = verdict.reason
            report.failed = report.final = True
        report.serving_generation = assignment.asked_by(self._serving(entry, assignment, verdict))
        if why := self._actor.hopeless(entry.model):
            self._add_hopeless(report, why)

    def _add_files(self, report: pb.ModelReport, assignment: Assignment) -> None:
        transfer = self._assignments.transferred(assignment)
        if transfer is not None:
            report.transfer.CopyFrom(
                pb.Transfer(
                    done=transfer.done,
                    total=transfer.total,
                    bytes_per_second=transfer.rate,
                    seconds_left=transfer.left,
                )
            )
        content = assignment.content
        if content is not None and assignment.current and is_remote(content.source.storage_uri):
            report.found.CopyFrom(
                pb.ArtifactSurvey(
                    bytes=content.artifact.bytes,
                    made_for=content.facts.made_for,
                    callees=content.facts.callees,
                )
            )

    def _add_hopeless(self, report: pb.ModelReport, why: str) -> None:
        """Its requests are refused with these words, whatever content it has, until sizes, pins or budget change."""
        report.state, report.available, report.serving_generation = common.FAILED, False, 0
        if not report.failed:
            report.last_error, report.failed = why, True

    def _serving(self, entry: Entry, assignment: Assignment, verdict: Verdict) -> int:
        """The number of the content that answers requests although it may not be the newest; 0: none does."""
        if entry.state in _IN_MEMORY:
            return entry.loaded_generation
        if not assignment.current:
            return self._actor.stands_in(entry.model) or entry.generation
        if verdict.standing is Standing.FAILED and entry.good is not None:
            return entry.good.generation
        return self._actor.stands_in(entry.model)

    def server(self) -> pb.ServerReport:
        statistics = self._actor.statistics()
        ready = self._supervisor.phase is Phase.READY
        addresses = self._server.addresses
        return pb.ServerReport(
            budget_bytes=statistics.budget,
            resident_bytes=statistics.charged,
            process_bytes=self.process_bytes if ready else None,
            base_bytes=self._supervisor.base_bytes,
            resident_models=statistics.resident,
            state=self._supervisor.phase.value,
            message=self._supervisor.message,
            pid=self._server.pid or 0,
            rest_address=addresses.rest,
            grpc_address=addresses.grpc,
            foreign=[
                pb.ForeignModel(name=each.name, state=each.presence.value, bytes=each.bytes)
                for each in self._foreign()
            ],
            disk=self._told_of_disk(),
        )

    def _told_of_disk(self) -> pb.DiskUsage:
        """For which all contents are gone through: not for each report, of which there may be ten in a second."""
        now = self._clock.now()
        if self._disk_told is None or now - self._disk_told[0] >= _DISK_PACE:
            self._disk_told = (now, _disk(self._disk()))
        return self._disk_told[1]

    def looked(self, reading: Reading | None, labels: tuple[str, str]) -> bool:
        """Take in what the memory watch saw and set the gauges; whether models moved since the last time."""
        if reading is not None:
            self.process_bytes = reading.total
        statistics = self._actor.statistics()
        activity = (statistics.charged, statistics.resident)
        moved, self._activity = activity != self._activity, activity
        self.export(labels)
        return moved or not self.process_bytes

    def export(self, labels: tuple[str, str]) -> None:
        """Set the gauges of this replica."""
        statistics = self._actor.statistics()
        metrics.BUDGET_BYTES.labels(*labels).set(statistics.budget)
        metrics.WAITING.labels(*labels).set(statistics.waiting)
        models: Counter[State] = Counter()
        charged: Counter[State] = Counter()
        for entry in self._actor.entries.values():
            models[entry.state] += 1
            charged[entry.state] += self._actor.charged(entry.model)
        for state in State:
            metrics.MODELS.labels(*labels, state.value).set(models[state])
            metrics.LEDGER_BYTES.labels(*labels, state.value).set(charged[state])


def _disk(usage: Usage) -> pb.DiskUsage:
    return pb.DiskUsage(used=usage.used, coming=usage.coming, firm=usage.firm, budget=usage.budget)
