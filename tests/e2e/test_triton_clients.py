"""Triton's own clients: what they see through the one port is what Triton tells them directly, hot and cold.

The gateway's own words are used where a model need not be in memory; they are compared too. What touches the machine is
allowed here; that it is refused else is in `differential`.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException, shared_memory

from tests.e2e.process import Overbook, model_manifest, server_manifest, wait_until
from tests.e2e.steady import Asker, same
from tests.e2e.triton_models import Multiplier, multiplier
from tests.e2e.zoo import TrainedModel, train
from tests.unix_port import port_to

ALLOWED = ["sharedMemory", "trace", "log", "repository"]
_STREAMING = """
backend: "python"
model_transaction_policy { decoupled: true }
input [{ name: "count" data_type: TYPE_INT32 dims: [1] }]
output [{ name: "number" data_type: TYPE_INT32 dims: [1] }]
"""
_STREAMING_CODE = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            count = pb_utils.get_input_tensor_by_name(request, "count").as_numpy()[0]
            for number in range(count):
                tensor = pb_utils.Tensor("number", np.array([number], dtype=np.int32))
                sender.send(pb_utils.InferenceResponse([tensor]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return None
"""


@pytest.fixture(scope="module")
def times(home: Path) -> Multiplier:
    return multiplier(home / "models", "times", 3.0)


@pytest.fixture(scope="module")
def forest(home: Path) -> TrainedModel:
    return train(home / "models", "forest", megabytes=0.1, seed=5)


@pytest.fixture(scope="module")
def running(home: Path, times: Multiplier, forest: TrainedModel) -> Iterator[Overbook]:
    streaming = home / "models" / "counter"
    (streaming / "1").mkdir(parents=True)
    (streaming / "config.pbtxt").write_text(_STREAMING)
    (streaming / "1" / "model.py").write_text(_STREAMING_CODE)
    with Overbook(home / "state") as made:
        applied = made.apply(
            server_manifest("200Mi"),
            server_manifest("1Gi", name="triton", serverConfig="triton", allow=ALLOWED),
            model_manifest(forest.name, forest.folder),
            model_manifest("times", times.folder, requirements=["triton"]),
            model_manifest("counter", streaming, requirements=["triton"]),
        )
        assert applied.code == 0, applied.err
        yield made


@pytest.fixture(params=["hot", "cold"])
def temperature(request: pytest.FixtureRequest, running: Overbook) -> str:
    verb = "activate" if request.param == "hot" else "evict"
    assert running.run(verb, "times").code == 0
    expected = "resident" if request.param == "hot" else "cold"
    wait_until(expected, lambda: running.states()["times"] == expected)
    return str(request.param)


def address(running: Overbook, protocol: str) -> str:
    """Triton's own."""
    for server in running.servers():
        if server["metadata"]["name"] == "triton":
            return str(server["status"]["replicas"][0]["address"][protocol])
    raise AssertionError("no Triton")


class Both:
    """The same question through the gateway and, once that has the model in memory, to Triton."""

    def __init__(self, running: Overbook) -> None:
        self._stack = contextlib.ExitStack()
        port = f"127.0.0.1:{running.port}"
        own = self._stack.enter_context(port_to(address(running, "rest")))
        self.http = [httpx.Client(base_url=f"http://{where}", timeout=30) for where in (port, own)]
        self.rest = [triton_http.InferenceServerClient(where) for where in (port, own)]
        self.grpc = [
            triton_grpc.InferenceServerClient(where) for where in (port, address(running, "grpc"))
        ]

    def close(self) -> None:
        for client in (*self.http, *self.rest, *self.grpc):
            client.close()
        self._stack.close()

    def post(self, path: str, body: object) -> list[httpx.Response]:
        return [client.post(path, json=body) for client in self.http]

    def refusals(self, ask: Callable[[Any], object]) -> list[tuple[str, str]]:
        """Status and message of both over gRPC."""
        found = []
        for client in self.grpc:
            with pytest.raises(InferenceServerException) as caught:
                ask(client)
            found.append((str(caught.value.status()), str(caught.value.message())))
        return found


@pytest.fixture
def both(running: Overbook) -> Iterator[Both]:
    made = Both(running)
    yield made
    made.close()


def json_tensor(**changes: object) -> dict[str, object]:
    tensor = {"name": "x", "datatype": "FP64", "shape": [2], "data": [2.0, 1.0], **changes}
    return {"id": "7", "inputs": [tensor]}


def grpc_input(values: np.ndarray[Any, Any], datatype: str = "FP64", name: str = "x") -> Any:
    tensor = triton_grpc.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values)
    return tensor


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_rest_with_and_without_binary_tensors(
    both: Both, temperature: str, binary_in: bool, binary_out: bool
) -> None:
    values = np.array([2.0, 1.0])
    tensor = triton_http.InferInput("x", [2], "FP64")
    tensor.set_data_from_numpy(values, binary_data=binary_in)
    wanted = triton_http.InferRequestedOutput("y", binary_data=binary_out)
    answers = [client.infer("times", [tensor], outputs=[wanted]) for client in both.rest]
    assert answers[0].get_response() == answers[1].get_response()
    for answer in answers:
        np.testing.assert_array_equal(answer.as_numpy("y"), values * 3.0)


def test_grpc(both: Both, temperature: str) -> None:
    values = np.array([2.0, 1.0])
    answers = [client.infer("times", [grpc_input(values)], request_id="9") for client in both.grpc]
    assert answers[0].get_response() == answers[1].get_response()
    np.testing.assert_array_equal(answers[0].as_numpy("y"), values * 3.0)


def test_metadata_is_the_same_in_and_out_of_memory(
    running: Overbook, both: Both, temperature: str
) -> None:
    told = [client.get("/v2/models/times").json() for client in both.http]
    over_grpc = both.grpc[0].get_model_metadata("times")
    if temperature == "cold":
        assert running.states()["times"] == "cold", "to be asked about loads nothing"
        assert running.run("activate", "times").code == 0
        told[1] = both.http[1].get("/v2/models/times").json()
    assert told[0] == told[1]
    assert over_grpc == both.grpc[1].get_model_metadata("times")


def test_readiness_by_version(both: Both, temperature: str) -> None:
    for client in (both.rest[0], both.grpc[0]):
        assert client.is_model_ready("times")
        assert client.is_model_ready("times", "1")
        assert client.is_server_ready()


def test_a_version_in_the_path_is_tritons_to_judge(both: Both, temperature: str) -> None:
    first = both.post("/v2/models/times/versions/1/infer", json_tensor())
    assert first[0].status_code == 200
    assert first[0].json() == both.post("/v2/models/times/infer", json_tensor())[1].json()
    second, directly = both.post("/v2/models/times/versions/2/infer", json_tensor())
    assert (second.status_code, second.json()) == (directly.status_code, directly.json())
    assert second.status_code == 404
    values = [grpc_input(np.array([1.0]))]
    assert both.grpc[0].infer("times", values, model_version="1").as_numpy("y") == [3.0]
    told = both.refusals(lambda client: client.infer("times", values, model_version="2"))
    assert told[0] == told[1]
    assert "NOT_FOUND" in told[0][0]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "z"},
        {"datatype": "INT32"},
        {"shape": [2, 1]},
        {"shape": [3]},
        {"data": ["a", "b"]},
    ],
    ids=["unknown input", "wrong type", "wrong rank", "too little data", "wrong data"],
)
def test_wrong_requests_are_answered_in_tritons_words(
    both: Both, changes: dict[str, object]
) -> None:
    both.grpc[0].infer("times", [grpc_input(np.array([1.0]))])
    through, directly = both.post("/v2/models/times/infer", json_tensor(**changes))
    assert (through.status_code, through.text) == (directly.status_code, directly.text)
    assert through.status_code in (400, 500)


def _infer(client: Any, tensor: Any) -> None:
    client.infer("times", [tensor])


def test_wrong_requests_over_grpc_are_answered_in_tritons_words(both: Both) -> None:
    wrong = [
        grpc_input(np.array([1.0]), name="z"),
        grpc_input(np.array([1], dtype=np.int32), "INT32"),
        grpc_input(np.array([[1.0]])),
    ]
    for tensor in wrong:
        told = both.refusals(partial(_infer, tensor=tensor))
        assert told[0] == told[1]
        assert "INVALID_ARGUMENT" in told[0][0]


def test_a_body_that_is_no_json(both: Both) -> None:
    through, directly = (
        client.post("/v2/models/times/infer", content=b"{") for client in both.http
    )
    assert (through.status_code, through.text) == (directly.status_code, directly.text)


def test_the_index_has_both_servers_models(running: Overbook, both: Both) -> None:
    rest = both.rest[0].get_model_repository_index()
    assert {each["name"]: each["state"] for each in rest} == {
        "counter": "READY",
        "forest": "READY",
        "times": "READY",
    }
    over_grpc = both.grpc[0].get_model_repository_index().models
    assert {each.name for each in over_grpc} == {"counter", "forest", "times"}


@pytest.mark.parametrize("port", ["gateway", "triton"])
def test_a_stream_of_many_answers(both: Both, port: str) -> None:
    client = both.grpc[0 if port == "gateway" else 1]
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    try:
        for count in (3, 2):
            values = np.array([count], dtype=np.int32)
            client.async_stream_infer("counter", [grpc_input(values, "INT32", "count")])
        numbers = []
        for _ in range(5):
            result, error = answers.get(timeout=20)
            assert error is None, error
            numbers.append(int(result.as_numpy("number")[0]))
    finally:
        client.stop_stream()
    assert numbers == [0, 1, 2, 0, 1]


def test_what_only_streams_can_answer_says_so(both: Both) -> None:
    body = {"inputs": [{"name": "count", "datatype": "INT32", "shape": [1], "data": [2]}]}
    through, directly = both.post("/v2/models/counter/infer", body)
    assert (through.status_code, through.text) == (directly.status_code, directly.text)


def test_mlserver_answers_on_the_same_port(running: Overbook, forest: TrainedModel) -> None:
    with Asker(running.port, forest.name, forest.inputs) as asker:
        assert same(asker.answer(0), forest.expected)
        assert same(asker.answer(1), forest.expected)


def test_tensors_much_larger_than_the_shared_memory_at_the_start(both: Both) -> None:
    values = np.arange(3_000_000, dtype=np.float64)
    tensor = triton_http.InferInput("x", list(values.shape), "FP64")
    tensor.set_data_from_numpy(values)
    over_rest = both.rest[0].infer("times", [tensor]).as_numpy("y")
    over_grpc = both.grpc[0].infer("times", [grpc_input(values)]).as_numpy("y")
    np.testing.assert_array_equal(over_rest, values * 3.0)
    np.testing.assert_array_equal(over_grpc, values * 3.0)


class Regions:
    """Two regions of this machine's shared memory, for a tensor that goes in and one that comes out."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.values, self.size = values, values.nbytes
        self.made = {
            name: shared_memory.create_shared_memory_region(name, f"/overbook_{name}", self.size)
            for name in ("region-in", "region-out")
        }
        shared_memory.set_shared_memory_region(self.made["region-in"], [values])

    def close(self) -> None:
        for region in self.made.values():
            shared_memory.destroy_shared_memory_region(region)

    def register(self, client: Any) -> None:
        for name in self.made:
            client.register_system_shared_memory(name, f"/overbook_{name}", self.size)

    def infer(self, client: Any, package: Any) -> tuple[Any, np.ndarray[Any, Any]]:
        """The answer, and what lies in the region for it, which was emptied before."""
        nothing = np.zeros_like(self.values)
        shared_memory.set_shared_memory_region(self.made["region-out"], [nothing])
        tensor = package.InferInput("x", list(self.values.shape), "FP64")
        tensor.set_shared_memory("region-in", self.size)
        wanted = package.InferRequestedOutput("y")
        wanted.set_shared_memory("region-out", self.size)
        answer = client.infer("times", [tensor], outputs=[wanted]).get_response()
        found = shared_memory.get_contents_as_numpy(
            self.made["region-out"], np.float64, list(self.values.shape)
        )
        return answer, found.copy()


@pytest.fixture
def regions(both: Both) -> Iterator[Regions]:
    made = Regions(np.arange(1000, dtype=np.float64))
    yield made
    both.grpc[1].unregister_system_shared_memory()
    made.close()


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_tensors_in_shared_memory(
    running: Overbook, both: Both, regions: Regions, temperature: str, protocol: str
) -> None:
    clients, package = (both.rest, triton_http) if protocol == "rest" else (both.grpc, triton_grpc)
    regions.register(clients[0])
    if temperature == "cold":
        assert running.states()["times"] == "cold", "to register a region loads nothing"
    answers = [regions.infer(client, package) for client in clients]
    assert answers[0][0] == answers[1][0]
    for _, found in answers:
        np.testing.assert_array_equal(found, regions.values * 3.0)
    status = [client.get("/v2/systemsharedmemory/status").json() for client in both.http]
    assert status[0] == status[1]
    assert sorted(each["name"] for each in status[0]) == ["region-in", "region-out"]
    over_grpc = [client.get_system_shared_memory_status("region-in") for client in both.grpc]
    assert over_grpc[0] == over_grpc[1]
    refused = both.refusals(lambda client: regions.register(client))
    assert refused[0] == refused[1]
    clients[0].unregister_system_shared_memory()
    assert both.http[1].get("/v2/systemsharedmemory/status").json() == []
    refused = both.refusals(lambda client: regions.infer(client, triton_grpc))
    assert refused[0] == refused[1]


def test_regions_and_settings_outlive_the_process(
    running: Overbook, both: Both, regions: Regions
) -> None:
    regions.register(both.grpc[0])
    both.rest[0].update_log_settings({"log_verbose_level": 1})
    before = address(running, "rest"), process_of(running)
    os.kill(before[1], signal.SIGKILL)
    # The request is held, or sent again, until the new process serves; it has to know the regions then.
    _, found = regions.infer(both.rest[0], triton_http)
    np.testing.assert_array_equal(found, regions.values * 3.0)
    wait_until("another process is reported", lambda: process_of(running) != before[1])
    with port_to(address(running, "rest")) as where:
        directly = triton_http.InferenceServerClient(where)
        status = directly.get_system_shared_memory_status()
        assert sorted(each["name"] for each in status) == ["region-in", "region-out"]
        assert directly.get_log_settings()["log_verbose_level"] == 1
        both.rest[0].update_log_settings({"log_verbose_level": 0})
        assert directly.get_log_settings()["log_verbose_level"] == 0
        both.rest[0].unregister_system_shared_memory()
        assert directly.get_system_shared_memory_status() == []
        directly.close()


def process_of(running: Overbook) -> int:
    """Triton's."""
    (server,) = (each for each in running.servers() if each["metadata"]["name"] == "triton")
    return int(server["status"]["replicas"][0]["pid"])


def test_trace_settings_and_what_is_traced(running: Overbook, both: Both) -> None:
    both.rest[0].update_trace_settings(
        settings={"trace_level": ["TIMESTAMPS"], "trace_rate": "1", "log_frequency": "1"}
    )
    both.grpc[0].infer("times", [grpc_input(np.array([1.0]))])
    for client in both.http:
        assert client.get("/v2/trace/setting").json()["trace_level"] == ["TIMESTAMPS"]
    folder = running.folder / "state" / "agents" / "triton-0" / "server"
    wait_until("a trace is written", lambda: any(folder.glob("trace.json*")))
    both.grpc[0].update_trace_settings(settings={"trace_level": ["OFF"], "log_frequency": []})
    settings = [client.get_trace_settings() for client in both.grpc]
    assert settings[0] == settings[1]
    assert [*settings[0].settings["trace_level"].value] == ["OFF"]
    refused = both.refusals(
        lambda client: client.update_trace_settings(settings={"trace_file": "/tmp/elsewhere"})
    )
    assert refused[0] == refused[1]


def test_a_models_own_trace_settings_outlive_its_reload(
    running: Overbook, both: Both, temperature: str
) -> None:
    both.grpc[0].update_trace_settings("times", settings={"trace_rate": "77"})
    assert running.run("evict", "times").code == 0
    told = [client.get_trace_settings("times") for client in both.rest]
    assert told[0] == told[1]
    assert told[0]["trace_rate"] == "77"
    assert both.rest[0].get_trace_settings()["trace_rate"] != "77"
    both.rest[0].update_trace_settings("times", settings={"trace_rate": None})


def test_load_and_unload(running: Overbook, both: Both, temperature: str) -> None:
    for client, directly in zip(
        (both.rest[0], both.grpc[0]), (both.rest[1], both.grpc[1]), strict=True
    ):
        client.load_model("times")
        assert directly.is_model_ready("times")
        client.unload_model("times", unload_dependents=True)
        assert not directly.is_model_ready("times")
        assert client.is_model_ready("times"), "a request would bring it back"
    states = {each["name"]: each["state"] for each in both.rest[0].get_model_repository_index()}
    assert states["times"] == "READY"
    with pytest.raises(InferenceServerException, match="its configuration and its files are"):
        both.rest[0].load_model("times", config="{}")
    with pytest.raises(InferenceServerException, match="on Server mlserver, which does not allow"):
        both.grpc[0].unload_model("forest")
    np.testing.assert_array_equal(
        both.grpc[0].infer("times", [grpc_input(np.array([2.0]))]).as_numpy("y"), [6.0]
    )
