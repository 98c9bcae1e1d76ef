"""What models measure, on MLServer and Triton, is on Overbook's page under their names; no model spoils it for others.

Counts are compared with the requests that were sent, and with Triton's own page.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from overbook.demo.tally import Sample, parse_samples, total
from tests.e2e.process import Overbook, model_manifest, server_manifest, wait_until
from tests.e2e.triton_models import Multiplier, multiplier
from tests.integration import own_doors

INPUT = {"name": "x", "shape": [2], "datatype": "FP64", "data": [3.0, 1.0]}
# A scrape of Prometheus ends after so many seconds, unless it is told otherwise.
SCRAPE = 10.0
_HEAD = """
import time

import mlserver
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse
from prometheus_client import Counter, Gauge
"""
# Its metrics are made when the file is imported, when it is loaded, and at its requests, as people do it.
_MEASURED = (
    _HEAD
    + """
ROWS = Counter("rows_seen", "Rows that were seen.", ["kind"])
LEVEL = Gauge("level", "How full it is.")


class Measured(MLModel):
    async def load(self) -> bool:
        mlserver.register("answer_size", "How large answers are.")
        LEVEL.set(7)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        mlserver.log(answer_size=0.3, unannounced=2.0)
        ROWS.labels("good").inc(payload.inputs[0].shape[0])
        if payload.id == "fails":
            raise ValueError("as it was told")
        return InferenceResponse(model_name=self.name, outputs=[])
"""
)
_HOSTILE = (
    _HEAD
    + """
FLOOD = Gauge("flood", "Too many.", ["n"])
for n in range(100_000):
    FLOOD.labels(str(n)).set(n)
Gauge("rows_seen_total", "Others have a counter of this name.").set(1)
Gauge("overbook_models", "Overbook has one.").set(1)
Counter("gigantic", "A label without end.", ["text"]).labels("x" * 1_000_000).inc()
NOT_A_NUMBER = Counter("not_a_number", "It is none.")
NOT_A_NUMBER.inc(float("nan"))
Gauge("hangs", "It is a function that does not end.").set_function(lambda: time.sleep(3600) or 1.0)


class Measured(MLModel):
    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        return InferenceResponse(model_name=self.name, outputs=[])
"""
)
_TRITON = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        name = args["model_name"]
        self.family = pb_utils.MetricFamily(
            name="triton_rows", description="Rows", kind=pb_utils.MetricFamily.COUNTER
        )
        self.rows = self.family.Metric(labels={"model": name, "kind": "good"})
        self.flood = [
            self.family.Metric(labels={"model": name, "n": str(n)}) for n in range(FLOOD)
        ]

    def execute(self, requests):
        self.rows.increment(len(requests))
        tensors = [pb_utils.get_input_tensor_by_name(each, "x").as_numpy() for each in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", x)]) for x in tensors]
"""
_CONFIG = """
backend: "python"
input [{ name: "x" data_type: TYPE_FP64 dims: [-1] }]
output [{ name: "y" data_type: TYPE_FP64 dims: [-1] }]
"""


def written(folder: Path, code: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(code)
    settings = {"name": "any", "implementation": "model.Measured"}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    return folder


def written_for_triton(folder: Path, *, flood: int) -> Path:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(_CONFIG)
    (folder / "1" / "model.py").write_text(_TRITON.replace("FLOOD", str(flood)))
    return folder


class Page:
    """Overbook's page, read anew at each question. ``asked``: requests so far, by model."""

    def __init__(self, running: Overbook) -> None:
        self.running = running
        self.asked: dict[str, int] = {}

    def ask(self, model: str, times: int = 1, *, fails: bool = False) -> None:
        body = {"id": "fails" if fails else "works", "inputs": [INPUT]}
        for _ in range(times):
            reply = self.running.data.post(f"/v2/models/{model}/infer", json=body)
            assert (reply.status_code != 200) is fails, reply.text
        self.asked[model] = self.asked.get(model, 0) + times

    def evict(self, model: str) -> None:
        assert self.running.run("evict", model).code == 0
        wait_until(f"{model} is cold", lambda: self.running.states()[model] == "cold")

    def samples(self) -> tuple[Sample, ...]:
        return parse_samples(
            self.running.api.get("/metrics", timeout=SCRAPE).raise_for_status().text
        )

    def series(self, model: str) -> set[str]:
        return {each.name for each in self.samples() if each.labels.get("model") == model}

    def total(self, name: str, **labels: str) -> float:
        return total(self.samples(), name, **labels)

    def reaches(self, wanted: float, name: str, **labels: str) -> None:
        """Within the second for which the page may be older than the request."""
        wait_until(f"{name} of {labels} is {wanted}", lambda: self.total(name, **labels) == wanted)


@pytest.fixture(scope="module")
def multipliers(home: Path) -> list[Multiplier]:
    return [
        multiplier(home / "triton", name, factor) for name, factor in (("by_2", 2), ("by_3", 3))
    ]


@pytest.fixture(scope="module")
def page(home: Path, multipliers: list[Multiplier]) -> Iterator[Page]:
    measured = written(home / "measured", _MEASURED)
    python: dict[str, Any] = {"requirements": ["python"], "memory": "1Mi"}
    with Overbook(home / "metrics") as running:
        applied = running.apply(
            server_manifest("1Gi", overcommitPercentage=100),
            server_manifest("1Gi", name="triton", serverConfig="triton", overcommitPercentage=100),
            model_manifest("Measured", measured, server="mlserver", **python),
            model_manifest("twin", measured, server="mlserver", **python),
            *(
                model_manifest(each.name, each.folder, server="triton", **python)
                for each in multipliers
            ),
            model_manifest(
                "rows", written_for_triton(home / "rows", flood=0), server="triton", **python
            ),
        )
        assert applied.code == 0, applied.err
        yield Page(running)


def test_what_models_of_mlserver_measure_bears_their_names(page: Page) -> None:
    for model, times in (("Measured", 3), ("twin", 2)):
        page.ask(model, times)
        whose = {"model": model, "server": "mlserver", "replica": "0"}
        page.reaches(times, "answer_size_count", **whose)
        assert page.total("answer_size_sum", **whose) == pytest.approx(0.3 * times)
        assert page.total("answer_size_bucket", le="0.5", **whose) == times
        assert page.total("unannounced_count", **whose) == times
        assert page.total("rows_seen_total", kind="good", **whose) == 2 * times
        assert page.total("level", **whose) == 7
        assert page.total("model_infer_request_success_total", **whose) == times
        assert page.total("model_infer_request_duration_count", **whose) == times
        assert 0 < page.total("model_infer_request_duration_sum", **whose) < times
    page.ask("twin", fails=True)
    page.reaches(1, "model_infer_request_failure_total", model="twin")
    assert page.total("model_infer_request_success_total", model="twin") == 2


def test_what_is_counted_goes_on_when_a_model_comes_back(page: Page) -> None:
    before = page.asked["Measured"]
    for turn in range(1, 4):
        page.evict("Measured")
        page.reaches(2 * (before + turn - 1), "rows_seen_total", model="Measured")
        assert "level" not in page.series("Measured")
        page.ask("Measured")
    page.reaches(before + 3, "answer_size_count", model="Measured")
    assert page.total("rows_seen_total", model="Measured") == 2 * (before + 3)
    assert page.total("model_infer_request_success_total", model="Measured") == before + 3
    assert page.total("level", model="Measured") == 7


def own_page(running: Overbook) -> tuple[psutil.Process, str]:
    """Triton's process, and what it says itself."""
    assert running.process is not None
    for child in psutil.Process(running.process.pid).children(recursive=True):
        command = child.cmdline()
        if "--metrics-address" in command and "tritonserver" in command[0]:
            address = command[command.index("--metrics-address") + 1]
            with own_doors.blocking_client(address) as client:
                return child, client.get("/metrics").text
    raise AssertionError("no tritonserver runs")


def test_tritons_counts_are_those_of_the_requests_sent(
    page: Page, multipliers: list[Multiplier]
) -> None:
    for times, each in enumerate(multipliers, start=3):
        page.ask(each.name, times)
    page.ask("rows", 5)
    for times, each in enumerate(multipliers, start=3):
        whose = {"model": each.name, "server": "triton", "replica": "0", "version": "1"}
        page.reaches(times, "nv_inference_count", **whose)
        own = parse_samples(own_page(page.running)[1])
        for name in ("nv_inference_count", "nv_inference_request_success"):
            assert page.total(name, **whose) == total(own, name, model=each.name) == times
    page.reaches(5, "triton_rows", model="rows", kind="good")
    assert page.total("nv_cpu_memory_total_bytes", server="triton") == psutil.virtual_memory().total
    for each in multipliers:
        page.evict(each.name)
        page.reaches(page.asked[each.name], "nv_inference_count", model=each.name)
    page.evict("rows")
    for name in (*(each.name for each in multipliers), "rows"):
        page.ask(name, 2)
        page.reaches(page.asked[name], "nv_inference_count", model=name)
    page.reaches(7, "triton_rows", model="rows", kind="good")


def test_a_hostile_model_costs_itself_alone(page: Page, home: Path) -> None:
    hostile = model_manifest(
        "hostile",
        written(home / "hostile", _HOSTILE),
        server="mlserver",
        requirements=["python"],
        memory="200Mi",
    )
    flooding = model_manifest(
        "flooding",
        written_for_triton(home / "flooding", flood=700),
        server="triton",
        requirements=["python"],
        memory="1Mi",
    )
    applied = page.running.apply(hostile, flooding)
    assert applied.code == 0, applied.err
    page.ask("flooding", 2)
    page.ask("hostile", 2)
    page.ask("twin")
    page.reaches(2, "nv_inference_count", model="flooding")
    # One look finds out that a gauge hangs, and the next one passes over its model.
    page.reaches(page.asked["twin"], "model_infer_request_duration_count", model="twin")
    page.reaches(2, "model_infer_request_success_total", model="hostile")
    assert page.total("rows_seen_total", model="twin") == 2 * page.asked["twin"]
    assert page.total("overbook_models", model="hostile") == 0
    assert len([each for each in page.samples() if each.labels.get("model") == "flooding"]) <= 600
    dropped = "overbook_model_metrics_dropped_total"
    assert page.total(dropped, model="hostile", server="mlserver", reason="hangs") >= 1
    assert page.total(dropped, model="flooding", server="triton", reason="flood") >= 200
    assert page.total(dropped, model="twin") == page.total(dropped, model="by_2") == 0

    def told() -> list[tuple[str, str]]:
        events = page.running.api.get("/api/v1/events").json()["events"]
        dropped = (each for each in events if each["reason"] == "ModelMetricsDropped")
        return [(each["name"], each["message"]) for each in dropped]

    # The page is quicker than the news of it.
    wait_until("both are told of", lambda: len(told()) >= 2)
    assert sorted(name for name, _ in told()) == ["flooding", "hostile"]
    assert all("some of its metrics are left out: " in message for _, message in told())


def test_where_nothing_hangs_each_fault_is_dropped_for_itself(page: Page, home: Path) -> None:
    code = _HOSTILE.replace('Gauge("hangs"', 'False and Gauge("hangs"')
    faulty = model_manifest(
        "faulty",
        written(home / "faulty", code),
        server="mlserver",
        requirements=["python"],
        memory="200Mi",
    )
    applied = page.running.apply(faulty)
    assert applied.code == 0, applied.err
    page.ask("faulty")
    page.reaches(1, "model_infer_request_success_total", model="faulty")
    dropped = "overbook_model_metrics_dropped_total"
    for reason, least in (("flood", 100_000), ("clash", 1), ("name", 1), ("long", 1), ("value", 1)):
        assert page.total(dropped, model="faulty", reason=reason) >= least, reason
    assert not page.series("faulty") & {"flood", "not_a_number_total", "gigantic_total"}


def test_a_server_that_hangs_leaves_the_page_to_others(page: Page) -> None:
    triton, _ = own_page(page.running)
    before = page.total("nv_inference_count", model="by_2")
    os.kill(triton.pid, signal.SIGSTOP)
    try:
        wait_until(
            "it is said that Triton does not answer",
            lambda: page.total("overbook_server_metrics_up", server="triton") == 0,
        )
        assert page.total("overbook_server_metrics_up", server="mlserver") == 1
        assert page.total("nv_inference_count", model="by_2") == before
        assert "nv_inference_pending_request_count" not in page.series("by_2")
    finally:
        os.kill(triton.pid, signal.SIGCONT)
    page.reaches(1, "overbook_server_metrics_up", server="triton")


def test_a_deleted_model_leaves_nothing(page: Page) -> None:
    for name in ("twin", "by_3", "flooding", "faulty"):
        assert page.series(name)
        assert page.running.run("delete", "model", name).code == 0
        wait_until(f"{name} is gone from the page", lambda name=name: not _of_agent(page, name))


def _of_agent(page: Page, model: str) -> set[str]:
    """What gateways counted stays, as their requests were."""
    return {name for name in page.series(model) if not name.startswith("overbook_requests")}
