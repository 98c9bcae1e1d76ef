"""Models of Triton that call others (ensembles, BLS) or keep state, with more models around them than memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from numpy.typing import NDArray

from tests.e2e.process import Overbook, model_manifest, server_manifest, wait_until

Array = NDArray[Any]
ROOM = 5
# A process of the Python backend with NumPy, and some reserve.
ONE_MODEL = 20_000_000
FILLERS = 6
ROUNDS = 12
IO = """max_batch_size: 0
input [ { name: "X" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ -1 ] } ]
"""
PLAIN = """
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        found = [pb.get_input_tensor_by_name(each, "X").as_numpy() for each in requests]
        return [pb.InferenceResponse([pb.Tensor("Y", EXPRESSION)]) for x in found]
"""
CALLER = """
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb.get_input_tensor_by_name(request, "X")
            inner = pb.InferenceRequest(model_name="CALLEE", requested_output_names=["Y"], inputs=[x])
            said = inner.exec()
            if said.has_error():
                answers.append(pb.InferenceResponse([], pb.TritonError(said.error().message())))
            else:
                y = pb.get_output_tensor_by_name(said, "Y").as_numpy()
                answers.append(pb.InferenceResponse([pb.Tensor("Y", y * 10)]))
        return answers
"""
ENSEMBLE = (
    'platform: "ensemble"\n'
    + IO
    + """ensemble_scheduling { step [
  { model_name: "plus" model_version: -1 input_map { key: "X" value: "X" } output_map { key: "Y" value: "M" } },
  { model_name: "times" model_version: -1 input_map { key: "X" value: "M" } output_map { key: "Y" value: "Y" } }
] }
"""
)


COUNTS = """
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        answers = []
        for request in requests:
            started = pb.get_input_tensor_by_name(request, "START").as_numpy()[0]
            sequence = int(pb.get_input_tensor_by_name(request, "CORRID").as_numpy()[0])
            x = pb.get_input_tensor_by_name(request, "X").as_numpy()
            if started:
                self.sums[sequence] = np.zeros_like(x)
            if sequence not in self.sums:
                answers.append(pb.InferenceResponse([], pb.TritonError("the sequence is lost")))
                continue
            self.sums[sequence] += x
            answers.append(pb.InferenceResponse([pb.Tensor("Y", self.sums[sequence].copy())]))
        return answers
"""
STATEFUL = (
    'backend: "python"\n'
    + IO
    + """sequence_batching { max_sequence_idle_microseconds: 5000000 control_input [
  { name: "START" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] },
  { name: "CORRID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] }
] }
"""
)


def written(folder: Path, code: str = "", config: str = 'backend: "python"\n' + IO) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config)
    if code:
        (folder / "1").mkdir()
        (folder / "1" / "model.py").write_text(code)
    return folder


@pytest.fixture(scope="module")
def models(home: Path) -> Path:
    root = home / "callees"
    written(root / "plus", PLAIN.replace("EXPRESSION", "x + 1"))
    written(root / "times", PLAIN.replace("EXPRESSION", "x * 2"))
    written(root / "both", config=ENSEMBLE)
    written(root / "asks", CALLER.replace("CALLEE", "plus"))
    written(root / "asks-both", CALLER.replace("CALLEE", "both"))
    for number in range(FILLERS):
        written(root / f"filler-{number}", PLAIN.replace("EXPRESSION", f"x + {number}"))
    return root


NEEDS = {"asks": ["plus"], "asks-both": ["both"]}


def answer(name: str, x: Array) -> Array:
    """What the model says, by hand."""
    if name.startswith("filler-"):
        return x + float(name.removeprefix("filler-"))
    factors = {"plus": (1.0, 1.0), "times": (0.0, 2.0), "both": (1.0, 2.0), "asks": (1.0, 10.0)}
    more, times = factors.get(name, (1.0, 20.0))
    return (x + more) * times


MODELS = ("plus", "times", "both", "asks", "asks-both", *(f"filler-{n}" for n in range(FILLERS)))
CALLS = {"both": {"plus", "times"}, "asks": {"plus"}, "asks-both": {"both", "plus", "times"}}


@pytest.fixture(scope="module")
def running(home: Path, models: Path) -> Iterator[Overbook]:
    with Overbook(home / "calling") as made:
        server = server_manifest(
            ROOM * ONE_MODEL, name="triton", serverConfig="triton", overcommitPercentage=900
        )
        # Callers come first: what they call is registered later in the same breath.
        names = sorted(MODELS, key=lambda name: name not in CALLS)
        applied = made.apply(
            server,
            *(
                model_manifest(
                    name,
                    models / name,
                    requirements=[],
                    memory=100_000 if name == "both" else ONE_MODEL,
                    **({"needs": NEEDS[name]} if name in NEEDS else {}),
                )
                for name in names
            ),
        )
        assert applied.code == 0, applied.err
        for name in names:
            waited = made.run("wait", "model", name, "--for", "ready", "--timeout", "90s")
            assert waited.code == 0, waited.err
        yield made


def ask(client: triton_grpc.InferenceServerClient, name: str, value: float) -> str:
    """Why the answer is wrong, or nothing."""
    x = np.array([value, value + 1], dtype=np.float32)
    tensor = triton_grpc.InferInput("X", [2], "FP32")
    tensor.set_data_from_numpy(x)
    try:
        found = client.infer(name, [tensor], client_timeout=60).as_numpy("Y")
    except Exception as error:
        return f"{name}: {error}"
    expected = answer(name, x)
    return "" if np.array_equal(found, expected) else f"{name}: {found} for {expected}"


def in_memory(running: Overbook) -> set[str]:
    return {
        each["metadata"]["name"]
        for each in running.api.get("/api/v1/models").json()
        for replica in each["status"]["replicas"]
        if replica["state"] == "resident"
    }


def test_each_is_answered_however_many_are_around(running: Overbook) -> None:
    client = triton_grpc.InferenceServerClient(f"127.0.0.1:{running.port}")
    names = [name for _ in range(ROUNDS) for name in MODELS]
    order = np.random.default_rng(7).permutation(len(names))
    alone: list[tuple[str, set[str]]] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.2):
            here = in_memory(running)
            alone.extend((name, here) for name in here & CALLS.keys() if not CALLS[name] <= here)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            told = list(pool.map(lambda index: ask(client, names[index], float(index)), order))
    finally:
        ended.set()
        looking.join()
    assert [each for each in told if each] == []
    # A status is told model by model, so one moment may show a caller that has just left.
    assert len(alone) <= 2, alone
    evictions = sum(
        replica["evictions"]
        for each in running.api.get("/api/v1/models").json()
        for replica in each["status"]["replicas"]
    )
    assert evictions > FILLERS


def test_what_is_called_stays_while_its_caller_is_in_use(running: Overbook) -> None:
    client = triton_grpc.InferenceServerClient(f"127.0.0.1:{running.port}")
    assert ask(client, "asks", 1.0) == ""
    evicted = running.run("evict", "plus")
    assert evicted.code == 0, evicted.err
    assert not {"plus", "asks"} & in_memory(running)
    assert ask(client, "asks", 2.0) == ""


def test_without_what_it_calls_a_model_says_so(running: Overbook, models: Path) -> None:
    written(models / "orphan", CALLER.replace("CALLEE", "nobody"))
    applied = running.apply(
        model_manifest(
            "orphan", models / "orphan", requirements=[], memory=ONE_MODEL, needs=["nobody"]
        )
    )
    assert "the model calls 'nobody', which is not registered" in applied.out + applied.err
    client = triton_grpc.InferenceServerClient(f"127.0.0.1:{running.port}")
    assert "not registered" in ask(client, "orphan", 1.0)
    written(models / "nobody", PLAIN.replace("EXPRESSION", "x + 1"))
    assert (
        running.apply(
            model_manifest("nobody", models / "nobody", requirements=[], memory=ONE_MODEL)
        ).code
        == 0
    )
    wait_until("it has a place", lambda: "not registered" not in ask(client, "orphan", 1.0))


def test_a_sequence_goes_on_whatever_is_asked_between_its_requests(
    running: Overbook, models: Path
) -> None:
    written(models / "counts", COUNTS, STATEFUL)
    applied = running.apply(
        model_manifest("counts", models / "counts", requirements=[], memory=ONE_MODEL)
    )
    assert applied.code == 0, applied.err
    client = triton_grpc.InferenceServerClient(f"127.0.0.1:{running.port}")
    sums = []
    for number in range(4):
        tensor = triton_grpc.InferInput("X", [1], "FP32")
        tensor.set_data_from_numpy(np.array([1.0], dtype=np.float32))
        said = client.infer(
            "counts", [tensor], sequence_id=7, sequence_start=not number, client_timeout=60
        )
        sums.append(float(said.as_numpy("Y")[0]))
        with ThreadPoolExecutor(4) as pool:
            names = [f"filler-{each}" for each in range(FILLERS)]
            assert [
                each for each in pool.map(lambda name: ask(client, name, 1.0), names) if each
            ] == []
    assert sums == [1.0, 2.0, 3.0, 4.0]
