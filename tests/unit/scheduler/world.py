"""A scheduler's seats without a disk or a socket: applies, agents that say hello, and their reports."""

from __future__ import annotations

from typing import Final

from overbook.artifacts.survey import NotNow, Survey
from overbook.manifests.specs import ModelManifest, ServerManifest
from overbook.manifests.validate import validate_object
from overbook.placement import Provider, ReplicaId, Unseen
from overbook.scheduler import agents_in
from overbook.scheduler.changes import Changes
from overbook.scheduler.manifests_in import Applied, Defaults, apply_model, apply_server, looked
from overbook.scheduler.records import Hello, Model, Report, Role, ServerReport
from overbook.scheduler.state import State

MB: Final = 1_000_000
GROUP: Final = "overbook.dev/v1alpha1"
COLD: Final = 1
FILES: Final = Survey(MB, "f1")


def replica(text: str) -> ReplicaId:
    server, _, number = text.partition("/")
    return ReplicaId(server, int(number))


def document(kind: str, name: str, **spec: object) -> dict[str, object]:
    return {"apiVersion": GROUP, "kind": kind, "metadata": {"name": name}, "spec": spec}


def a_report(generation: int = 1, *, available: bool = True, **changes: object) -> Report:
    values: dict[str, object] = {
        "generation": generation,
        "state": COLD,
        "available": available,
        "failed": False,
        "declared": None,
        "measured": None,
        "charged": 0,
        "size": 0,
        "last_used": 0.0,
        "in_flight": 0,
        "loads": 0,
        "evictions": 0,
        "last_error": "",
        "serving_generation": 0,
    }
    return Report(**(values | changes))  # type: ignore[arg-type]  # a table of overrides


class World:
    """The state, its clock, and everything it ever wanted to be told to others."""

    def __init__(self, *providers: Provider) -> None:
        self.state = State(providers)
        self.now = 1000.0
        self.last = Changes()

    def settle(self) -> Changes:
        """What the actor does after every call."""
        self.now += 1
        self.state.end_waits(self.now)
        for _ in self.state.bites(3):
            pass
        self.last = self.state.take_changes(self.now)
        return self.last

    def server(
        self, name: str = "mlserver", *, machine: int | None = None, **spec: object
    ) -> Applied:
        values: dict[str, object] = {
            "serverConfig": "mlserver",
            "memory": "10M",
            "overcommitPercentage": 20,
        }
        manifest = validate_object(document("Server", name, **(values | spec))).manifest
        assert isinstance(manifest, ServerManifest)
        self.now += 1
        applied = apply_server(self.state, manifest, Defaults(machine=machine), self.now)
        self.settle()
        return applied

    def hello(
        self,
        where: str = "mlserver/0",
        *capabilities: str,
        memory: int = 10 * MB,
        separate: tuple[str, ...] = (),
    ) -> None:
        offers = frozenset(capabilities or ("sklearn",))
        hello = Hello("mlserver", offers, memory, "unix:/a", frozenset(separate))
        agents_in.hello(self.state, replica(where), hello, self.now)
        self.settle()

    def bye(self, where: str) -> None:
        agents_in.bye(self.state, replica(where), self.now)
        self.settle()

    def apply(self, name: str, *, artifact: Survey | Unseen = FILES, **spec: object) -> Applied:
        values: dict[str, object] = {"storageUri": f"/m/{name}", "memory": "1M"}
        given = {key: value for key, value in (values | spec).items() if value is not None}
        manifest = validate_object(document("Model", name, **given)).manifest
        assert isinstance(manifest, ModelManifest)
        self.now += 1
        applied = apply_model(self.state, manifest, artifact, self.now)
        self.settle()
        return applied

    def looked(self, name: str, found: Survey | NotNow | str = FILES) -> None:
        looked(self.state, name, self.model(name).needs.artifact, found)
        self.settle()

    def report(self, where: str, name: str, report: Report | None = None) -> None:
        """By default: the newest generation is available."""
        known = report or a_report(self.model(name).generation)
        agents_in.report(self.state, replica(where), [(name, known)])
        self.settle()

    def server_report(self, where: str, **values: object) -> None:
        said = ServerReport(**values)  # type: ignore[arg-type]  # a table of overrides
        agents_in.server_report(self.state, replica(where), said, self.now)
        self.settle()

    def gone(self, where: str, name: str) -> None:
        agents_in.gone(self.state, replica(where), [name])
        self.settle()

    def delete(self, name: str) -> None:
        self.state.remove_model(name)
        self.settle()

    def model(self, name: str) -> Model:
        return self.state.model(name)

    def seats(self, name: str) -> dict[str, Role]:
        return {str(each): role for each, role in self.model(name).seats.items()}

    def reason(self, name: str) -> str:
        condition = self.model(name).condition
        assert condition is not None
        return condition.reason

    def registered(self, where: str = "mlserver/0") -> int:
        return self.state.seats.replicas[replica(where)].registered

    def _is_kept(self, model: Model) -> bool:
        """Whether it is pinned itself, or anything that calls it, found the long way."""
        callers = [each for each in self.state.seats.models.values() if model.name in each.callees]
        return model.needs.pinned or any(self._is_kept(each) for each in callers)

    def check(self) -> None:
        """The seats agree with themselves."""
        seats = self.state.seats
        for each in seats.replicas.values():
            here = {model.name for model in seats.models.values() if each.id in model.seats}
            assert here == each.models
            weights = {name: seats.models[name].weight for name in here}
            assert each.registered == sum(weight.size for weight in weights.values())
            assert each.beyond == {
                name: weight.size - weight.claim
                for name, weight in weights.items()
                if weight.size > weight.claim
            }
            pinned = {name for name in here if self._is_kept(seats.models[name])}
            assert each.pinned == {name: weights[name].takes for name in pinned}
        for model in seats.models.values():
            assert set(model.seats) <= seats.replicas.keys()
            wants = not model.deleting and len(model.assigned) < model.needs.replicas
            wants = wants and model.unseen is None
            assert (model.name in seats.pending) == wants
