"""Pure: what Overbook says of itself, from the control API's JSON and its metrics, as one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from overbook.demo.tally import Sample, histogram_quantile, total

_ACTIVATION = "overbook_activation_seconds"


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model over all its replicas. `bytes`: what it is charged when resident."""

    state: str
    bytes: int
    loads: int
    evictions: int


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server over all its replicas, in bytes. ``most``: the most that was charged so far."""

    budget: int
    resident: int
    most: int


@dataclass(frozen=True, slots=True)
class Observed:
    """One look at the system. Bytes; activation latencies in seconds, None before the first.

    ``surprise``: by how much models turned out larger than their manifests say, in all.
    """

    models: Mapping[str, ModelState] = field(default_factory=dict)
    servers: Mapping[str, ServerState] = field(default_factory=dict)
    surprise: int = 0
    process_bytes: int = 0
    resident_models: int = 0
    hot: float = 0.0
    cold: float = 0.0
    activations: float = 0.0
    activation_p50: float | None = None
    activation_p99: float | None = None

    @property
    def hit_rate(self) -> float | None:
        """Share of the requests whose model was in memory when they came."""
        asked = self.hot + self.cold
        return self.hot / asked if asked else None

    @property
    def budget(self) -> int:
        return sum(server.budget for server in self.servers.values())

    @property
    def over_budget(self) -> bool:
        """Whether any server was ever charged more than it may hold, and no model's first measurement explains it."""
        return any(server.most > server.budget + self.surprise for server in self.servers.values())

    @property
    def evictions(self) -> int:
        return sum(model.evictions for model in self.models.values())


def observe(
    models: Sequence[Mapping[str, object]],
    servers: Sequence[Mapping[str, object]],
    samples: Sequence[Sample],
    before: Observed,
) -> Observed:
    """The state now; `before` only for what is the largest so far."""
    replicas = [replica for server in servers for replica in _replicas(server)]
    return Observed(
        models={_name(model): _model_state(model) for model in models},
        servers={
            _name(server): _server_state(server, before.servers.get(_name(server)))
            for server in servers
        },
        surprise=max(before.surprise, sum(_surprise(model) for model in models)),
        process_bytes=sum(_numbers(each, "bytes").get("process", 0) for each in replicas),
        resident_models=sum(_numbers(replica, "models").get("resident", 0) for replica in replicas),
        hot=total(samples, "overbook_requests_total", path="hot"),
        cold=total(samples, "overbook_requests_total", path="cold")
        + total(samples, "overbook_requests_total", path="fallback"),
        activations=total(samples, f"{_ACTIVATION}_count", phase="total"),
        activation_p50=histogram_quantile(samples, _ACTIVATION, 0.50, phase="total"),
        activation_p99=histogram_quantile(samples, _ACTIVATION, 0.99, phase="total"),
    )


def _server_state(server: Mapping[str, object], before: ServerState | None) -> ServerState:
    counted = [_numbers(replica, "bytes") for replica in _replicas(server)]
    resident = sum(numbers.get("resident", 0) for numbers in counted)
    return ServerState(
        budget=sum(numbers.get("budget", 0) for numbers in counted),
        resident=resident,
        most=max(resident, before.most if before is not None else 0),
    )


def _model_state(model: Mapping[str, object]) -> ModelState:
    replicas = _replicas(model)
    states = [str(replica.get("state", "")) for replica in replicas]
    return ModelState(
        state="resident" if "resident" in states else next(iter(states), "unplaced"),
        bytes=max((_charged(replica) for replica in replicas), default=0),
        loads=sum(_number(replica.get("loads")) for replica in replicas),
        evictions=sum(_number(replica.get("evictions")) for replica in replicas),
    )


def _surprise(model: Mapping[str, object]) -> int:
    counted = [_numbers(replica, "bytes") for replica in _replicas(model)]
    # Where nothing is declared nothing can surprise.
    larger = (
        each.get("measured", 0) - each["declared"] for each in counted if each.get("declared")
    )
    return max(0, *larger, 0)


def _charged(replica: Mapping[str, object]) -> int:
    numbers = _numbers(replica, "bytes")
    return numbers.get("charged", 0) or numbers.get("measured", 0) or numbers.get("declared", 0)


def _replicas(thing: Mapping[str, object]) -> list[Mapping[str, object]]:
    status = thing.get("status")
    found = status.get("replicas") if isinstance(status, Mapping) else None
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def _numbers(thing: Mapping[str, object], key: str) -> dict[str, int]:
    found = thing.get(key)
    if not isinstance(found, Mapping):
        return {}
    return {str(name): _number(value) for name, value in found.items()}


def _number(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _name(model: Mapping[str, object]) -> str:
    metadata = model.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, Mapping) else ""
