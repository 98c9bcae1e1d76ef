"""The control API's JSON as numbers, and odd answers as zeros."""

from __future__ import annotations

from dataclasses import replace

from overbook.demo.observed import ModelState, Observed, ServerState, observe
from overbook.demo.tally import parse_samples
from tests.unit.client import fake_overbook


def model(name: str, *replicas: dict[str, object]) -> dict[str, object]:
    return {"metadata": {"name": name}, "status": {"replicas": list(replicas)}}


def replica(state: str, **fields: object) -> dict[str, object]:
    return {
        "state": state,
        "bytes": {"declared": 10, "measured": None, "charged": 0},
        "loads": 1,
        "evictions": 0,
        **fields,
    }


SERVER: dict[str, object] = {
    "metadata": {"name": "mlserver"},
    "status": {
        "replicas": [
            {
                "bytes": {"budget": 100, "resident": 60, "process": 500, "base": 400},
                "models": {"registered": 4, "resident": 2},
            }
        ]
    },
}


def test_what_is_seen() -> None:
    samples = parse_samples(
        'overbook_requests_total{model="a",path="hot"} 9\n'
        'overbook_requests_total{model="a",path="cold"} 2\n'
        'overbook_requests_total{model="a",path="fallback"} 1\n'
        'overbook_activation_seconds_count{phase="total"} 3\n'
        'overbook_activation_seconds_count{phase="load"} 3\n'
    )
    models = [
        model("a", replica("cold", loads=2, evictions=2), replica("resident", loads=1)),
        model("b", replica("cold")),
        model("c"),
    ]
    other = {**SERVER, "metadata": {"name": "triton"}}
    before = Observed(servers={"triton": ServerState(budget=100, resident=90, most=110)})
    seen = observe(models, [SERVER, other], samples, before)
    assert (seen.budget, seen.resident_models) == (200, 4)
    assert seen.servers == {
        "mlserver": ServerState(budget=100, resident=60, most=60),
        "triton": ServerState(budget=100, resident=60, most=110),
    }
    assert seen.over_budget
    larger = {"declared": 10, "measured": 20, "charged": 20}
    explained = observe([model("a", replica("resident", bytes=larger))], [SERVER], (), seen)
    assert explained.surprise == 10
    assert not replace(seen, surprise=10).over_budget
    silent = {"declared": None, "measured": 20, "charged": 20}
    assert (
        observe([model("a", replica("resident", bytes=silent))], [SERVER], (), seen).surprise == 0
    )
    assert seen.hit_rate == 0.75
    assert seen.activations == 3
    assert seen.activation_p50 is None
    assert seen.evictions == 2
    assert (seen.models["a"].state, seen.models["a"].loads) == ("resident", 3)
    assert (seen.models["b"].state, seen.models["b"].bytes) == ("cold", 10)
    assert seen.models["c"].state == "unplaced"


def test_of_an_answer_as_it_is_described_nothing_is_missed() -> None:
    """The fake's answers are held to the control API's description."""
    seen = observe(
        [fake_overbook.model("iris")], [fake_overbook.server("mlserver")], (), Observed()
    )
    assert seen.models == {"iris": ModelState(state="resident", bytes=102400, loads=3, evictions=1)}
    assert seen.servers == {"mlserver": ServerState(budget=2**31, resident=2**30, most=2**30)}
    assert (seen.process_bytes, seen.resident_models) == (2**30 + 2**28, 12)


def test_odd_answers_are_zeros() -> None:
    seen = observe([{}, {"status": 3}], [{"status": {"replicas": [7, {}]}}], (), Observed())
    assert (seen.budget, seen.resident_models, seen.evictions) == (0, 0, 0)
    assert seen.hit_rate is None
