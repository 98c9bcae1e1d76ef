"""What agents say, into the state: who is here, what became of their models, and what those turned out to take.

The counterpart of `manifests_in`, which brings what people say. Decisions about places are in `state`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from overbook.placement import ReplicaId
from overbook.scheduler import manifests_in
from overbook.scheduler.changes import Note
from overbook.scheduler.records import Hello, Model, News, Replica, Report, Role, ServerReport
from overbook.scheduler.state import AWAIT_SECONDS, State, capabilities


def hello(state: State, replica_id: ReplicaId, hello: Hello, now: float) -> None:
    """An agent is here. A session starts with nothing known: it reports everything anew."""
    seats = state.seats
    server = seats.servers.get(replica_id.server)
    replica = seats.replicas.get(replica_id)
    if replica is None:
        # Of a Server that nobody applied: it is kept, gets nothing, and counts once that is there.
        replica = Replica(replica_id, hello.memory, 0, draining=True)
        seats.replicas[replica_id] = replica
    replica.connected = True
    replica.hello = hello
    replica.await_until = 0.0
    for sibling in state.replicas_of(replica_id.server):
        if sibling.hello is None and not sibling.draining:
            sibling.await_until = now + AWAIT_SECONDS
    replica.capabilities = hello.capabilities if server is None else capabilities(server, hello)
    replica.reports, replica.misdeclared = {}, set()
    replica.server_report = ServerReport()
    seats.changes.replicas.add(replica_id)
    # Also where its memory is right: whatever policy it had may not be the Server's any more.
    seats.changes.configured.add(replica_id)
    # The full sync does not name them, and what an agent had before it left is gone with it.
    for name in sorted(replica.models):
        model = seats.models[name]
        seats.touched.add(name)
        if model.seats[replica_id] is Role.REVOKING:
            seats.unseat(model, replica_id)
            state.end_if_gone(model)
    _note(state, replica_id, "AgentConnected", f"runtime {hello.runtime}", warning=False)
    state.refresh_server(replica_id.server, now)
    state.later(seats.misplaced(replica, enforce=False))
    state.retry_all()


def news(state: State, replica_id: ReplicaId, news: News | None, now: float) -> None:
    """What is done on a machine so that an agent can run there, or run with what its Server asks for now.

    It is tried again and again, so a failure is an event once, until it is another one or there is an environment.
    """
    replica = state.seats.replicas.get(replica_id)
    if replica is None or replica.news == news:
        return
    if news is None:
        replica.told_failure = ""
    elif news.failed and news.text != replica.told_failure:
        replica.told_failure = news.text
        _note(state, replica_id, "EnvironmentFailed", news.text, warning=True)
    replica.news = news
    state.refresh_server(replica_id.server, now)


def bye(state: State, replica_id: ReplicaId, now: float) -> None:
    """The agent's session ended. Its models stay: it may be restarting."""
    seats = state.seats
    replica = seats.replicas.get(replica_id)
    if replica is None or not replica.connected:
        return
    replica.connected = False
    for name in sorted(replica.models):
        model = seats.models[name]
        seats.touched.add(name)
        if replica.draining:
            seats.unseat(model, replica_id)
            state.end_if_gone(model)
            state.later([name])
        elif len(model.seats) > 1:
            seats.changes.routes.add(name)
        if name in seats.pending:
            # What it offers is no longer known: whoever was leaving for that may as well stay.
            state.later([name])
    _note(state, replica_id, "AgentDisconnected", "its session ended", warning=True)
    state.refresh_server(replica_id.server, now)
    state.forget(replica)


def _note(state: State, replica_id: ReplicaId, reason: str, message: str, *, warning: bool) -> None:
    state.seats.changes.notes.append(
        Note(reason, "Server", replica_id.server, message, warning, replica_id)
    )


def report(state: State, replica_id: ReplicaId, reports: Sequence[tuple[str, Report]]) -> None:
    """What an agent says of its models; of those that it was not given, nothing is kept."""
    seats = state.seats
    replica = seats.replicas.get(replica_id)
    if replica is None:
        return
    for name, report in reports:
        model = seats.models.get(name)
        if model is None or replica_id not in model.seats:
            continue
        before = replica.reports.get(name)
        replica.reports[name] = report
        if name in replica.pinned and (before is None or before.charged != report.charged):
            seats.pinned.add(replica_id)
        (replica.misdeclared.add if report.misdeclared else replica.misdeclared.discard)(name)
        seats.touched.add(name)
        if report.found is not None and report.generation >= model.content_generation:
            manifests_in.arrived(state, model, report.found)
        _learn(state, model)
        if len(model.seats) > 1:
            seats.settle(model)
            seats.changes.routes.add(name)


def _learn(state: State, model: Model) -> None:
    """What agents measured, or reckon with where nothing is declared; the largest of them.

    Of a declared model whose files are there and of which nothing is known, nothing is known any more.
    """
    declared = model.needs.memory
    reports = [
        report
        for each in model.seats
        if (report := state.seats.replicas[each].reports.get(model.name)) is not None
        and report.generation >= model.content_generation
        and report.declared == declared
    ]
    measured = [report.size for report in reports if report.measured is not None]
    # Before its files are there an agent reckons with nothing, or with those of before.
    guessed = [report.size for report in reports if report.available]
    if measured:
        learned = max(measured)
    elif guessed:
        learned = 0 if declared else max(guessed)
    else:
        return
    if learned != model.learned_bytes:
        before = model.weight
        model.learned_bytes = learned
        state.seats.resized(model, before)
        state.seats.changes.hints.add(model.name)


def server_report(state: State, replica_id: ReplicaId, report: ServerReport, now: float) -> None:
    replica = state.seats.replicas.get(replica_id)
    if replica is not None:
        before, replica.server_report = replica.server_report, report
        state.refresh_server(replica_id.server, now)
        if before.foreign != report.foreign:
            state.retry_all()


def gone(state: State, replica_id: ReplicaId, names: Iterable[str]) -> None:
    """Revoked models of which an agent has nothing left. Of others it is an old story: ignored."""
    for name in names:
        model = state.seats.models.get(name)
        if model is not None and model.seats.get(replica_id) is Role.REVOKING:
            state.seats.unseat(model, replica_id)
            state.end_if_gone(model)
    replica = state.seats.replicas.get(replica_id)
    if replica is not None:
        state.forget(replica)
