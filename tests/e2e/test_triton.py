"""Triton beside MLServer behind one port: the mission's example, and more ONNX models than Triton has memory for.

Asked with tritonclient over both protocols, in its binary form; every answer is compared with NumPy's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from tritonclient.utils import InferenceServerException

from tests.e2e.process import Overbook, model_manifest, oip_error, server_manifest, wait_until
from tests.e2e.traffic import zipf_sequence
from tests.integration import onnx_models, triton_harness

MODELS = 30
ROOM = 8
REQUESTS = 3000
AT_ONCE = 12
# What a process of the ONNX backend takes for one of these, with some reserve.
ONE_MODEL = 40_000_000
STUB = "triton_python_backend_stub"
Array = NDArray[Any]


@pytest.fixture(scope="module")
def saved(home: Path) -> Path:
    return triton_harness.saved_models(home / "saved")


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[Overbook]:
    with Overbook(home / "both") as made:
        applied = made.apply(
            server_manifest("200Mi"),
            server_manifest(
                ROOM * ONE_MODEL, name="triton", serverConfig="triton", overcommitPercentage=900
            ),
        )
        assert applied.code == 0, applied.err
        yield made


def grpc_tensors(**arrays: Array) -> list[triton_grpc.InferInput]:
    return [_filled(triton_grpc.InferInput, name, array) for name, array in arrays.items()]


def rest_tensors(**arrays: Array) -> list[triton_http.InferInput]:
    return [_filled(triton_http.InferInput, name, array) for name, array in arrays.items()]


def _filled(kind: Any, name: str, array: Array) -> Any:
    datatype = {"int32": "INT32", "float32": "FP32"}[str(array.dtype)]
    tensor = kind(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def test_the_missions_example(running: Overbook, saved: Path) -> None:
    example = model_manifest(
        "tfsimple", saved / "add_sub", requirements=["tensorflow"], memory="100Ki"
    )
    applied = running.apply(example)
    assert applied.code == 0, applied.err
    described = running.model("tfsimple")
    (replica,) = described["status"]["replicas"]
    assert replica["server"] == "triton"
    address = f"127.0.0.1:{running.port}"
    first, second = np.arange(16, dtype=np.int32), np.arange(16, dtype=np.int32)[::-1].copy()
    rest, grpc = (
        triton_http.InferenceServerClient(address),
        triton_grpc.InferenceServerClient(address),
    )
    metadata = rest.get_model_metadata("tfsimple")
    assert metadata["platform"] == "tensorflow_savedmodel"
    assert {each["name"]: each["shape"] for each in metadata["inputs"]} == {
        "INPUT0": [16],
        "INPUT1": [16],
    }
    for answer in (
        rest.infer("tfsimple", rest_tensors(INPUT0=first, INPUT1=second)),
        grpc.infer("tfsimple", grpc_tensors(INPUT0=first, INPUT1=second)),
    ):
        np.testing.assert_array_equal(answer.as_numpy("OUTPUT0"), first + second)
        np.testing.assert_array_equal(answer.as_numpy("OUTPUT1"), first - second)
    plain = [
        {"name": name, "shape": [16], "datatype": "INT32", "data": array.tolist()}
        for name, array in (("INPUT0", first), ("INPUT1", second))
    ]
    reply = running.data.post("/v2/models/tfsimple/infer", json={"inputs": plain})
    outputs = {each["name"]: each["data"] for each in reply.json()["outputs"]}
    assert outputs["OUTPUT0"] == [15] * 16
    rest.close()
    grpc.close()


def test_the_servers_own_words_pass_through(running: Overbook, saved: Path) -> None:
    assert (
        running.apply(model_manifest("strict", saved / "add_sub", requirements=["tensorflow"])).code
        == 0
    )
    address = f"127.0.0.1:{running.port}"
    right, wrong = np.zeros(16, dtype=np.int32), np.zeros(15, dtype=np.int32)
    with (
        triton_grpc.InferenceServerClient(address) as client,
        pytest.raises(InferenceServerException) as caught,
    ):
        client.infer("strict", grpc_tensors(INPUT0=wrong, INPUT1=right))
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert "unexpected shape for input 'INPUT0'" in caught.value.message()
    floats = [
        {"name": name, "shape": [16], "datatype": "FP32", "data": [0.5] * 16}
        for name in ("INPUT0", "INPUT1")
    ]
    reply = running.data.post("/v2/models/strict/infer", json={"inputs": floats})
    assert reply.status_code == 400
    assert "data-type is 'FP32', but model 'strict' expects 'INT32'" in oip_error(reply)


@pytest.mark.parametrize(
    ("saved_model", "words"),
    [
        ("unsigned", "its SavedModel has no signature"),
        ("two", "signatures plain, rows and no serving_default"),
    ],
)
def test_a_model_that_cannot_be_served_says_why(
    running: Overbook, saved: Path, saved_model: str, words: str
) -> None:
    manifest = model_manifest(
        f"bad-{saved_model}", saved / saved_model, requirements=["tensorflow"]
    )
    applied = running.apply(manifest)
    assert applied.code == 1
    assert words in applied.err
    assert running.run("delete", "model", f"bad-{saved_model}").code == 0


@dataclass(frozen=True)
class Linear:
    """An ONNX model that multiplies with its own matrix."""

    name: str
    folder: Path
    weight: Array

    def check(self, x: Array, answer: Array) -> None:
        np.testing.assert_allclose(answer, x @ self.weight, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def linears(home: Path) -> list[Linear]:
    """Thirty of 0.25 to 4 MB."""
    made = []
    for number in range(MODELS):
        random = np.random.default_rng(number)
        width = int(random.integers(256, 1024))
        weight = random.normal(size=(width, width)).astype(np.float32)
        folder = home / "linears" / f"onnx-{number:02}"
        onnx_models.save(
            folder / "model.onnx",
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            [onnx_models.value("x", "FP32", ["rows", width])],
            [onnx_models.value("y", "FP32", ["rows", width])],
            constants=[numpy_helper.from_array(weight, "w")],
        )
        made.append(Linear(folder.name, folder, weight))
    return made


class Watch(threading.Thread):
    """What the processes of Triton's models really take, and what the agent charged, a few times a second."""

    def __init__(self, running: Overbook) -> None:
        super().__init__(daemon=True)
        self.taken: list[int] = []
        self.charged: list[int] = []
        self._running = running
        self._over = threading.Event()

    def run(self) -> None:
        assert self._running.process is not None
        root = psutil.Process(self._running.process.pid)
        while not self._over.wait(0.25):
            self.taken.append(sum(_own_bytes(each) for each in root.children(recursive=True)))
            replicas = next(
                each["status"]["replicas"]
                for each in self._running.servers()
                if each["metadata"]["name"] == "triton"
            )
            self.charged.append(replicas[0]["bytes"]["resident"])

    def stop(self) -> None:
        self._over.set()
        self.join()


def _own_bytes(process: psutil.Process) -> int:
    """Without pages of files: those of a library belong to whoever mapped them, and cost nobody anything."""
    try:
        if STUB not in " ".join(process.cmdline()[:1]):
            return 0
        fields = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
    except (psutil.NoSuchProcess, psutil.ZombieProcess, OSError):
        return 0
    if not fields:  # it is ending
        return 0
    sizes = {
        name: int(rest.split()[0]) for name, _, rest in (each.partition(":") for each in fields)
    }
    return 1024 * sizes["Pss_Anon"]


def ask(
    port: int, models: Sequence[Linear], chosen: Sequence[int], *, over_rest: bool
) -> list[str]:
    """One user with a connection of its own; what failed."""
    kind = triton_http if over_rest else triton_grpc
    fill = rest_tensors if over_rest else grpc_tensors
    failures = []
    options = {"network_timeout": 90.0, "connection_timeout": 90.0} if over_rest else {}
    client = kind.InferenceServerClient(f"127.0.0.1:{port}", **options)
    for number, index in enumerate(chosen):
        model = models[index]
        x = np.random.default_rng(number).normal(size=(1 + number % 3, len(model.weight)))
        x = x.astype(np.float32)
        try:
            model.check(x, client.infer(model.name, fill(x=x)).as_numpy("y"))
        except Exception as error:
            failures.append(f"{model.name} over {'REST' if over_rest else 'gRPC'}: {error}")
    client.close()
    return failures


def test_thirty_onnx_models_with_room_for_eight(running: Overbook, linears: list[Linear]) -> None:
    applied = running.apply(
        *(
            model_manifest(
                each.name, each.folder, requirements=["triton", "onnx"], memory=ONE_MODEL
            )
            for each in linears
        )
    )
    assert applied.code == 0, applied.err
    sequence = zipf_sequence(MODELS, REQUESTS, alpha=1.5, seed=5)
    watch = Watch(running)
    before = running.total("evictions")
    watch.start()
    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as users:
        asked = [
            users.submit(
                ask, running.port, linears, sequence[user::AT_ONCE], over_rest=user % 2 == 0
            )
            for user in range(AT_ONCE)
        ]
        failures = [why for each in asked for why in each.result()]
    seconds = time.monotonic() - began
    watch.stop()
    evictions = running.total("evictions") - before
    print(f"{REQUESTS} requests in {seconds:.0f} s, {evictions} evictions")
    assert failures == []
    assert evictions > 100
    # Bytes were given back before they were promised to the next one: measured at the processes themselves, where
    # one model that loads may surprise by what it takes for a moment.
    assert max(watch.charged) <= ROOM * ONE_MODEL
    assert max(watch.taken) > ROOM * ONE_MODEL / 4, "the watch sees the processes"
    assert max(watch.taken) <= (ROOM + 1) * ONE_MODEL
    conditions = [each["status"]["conditions"][0] for each in running.models()]
    assert all(each["status"] == "True" for each in conditions)


def test_everything_goes_when_it_is_deleted(running: Overbook, linears: list[Linear]) -> None:
    names = [each["metadata"]["name"] for each in running.models()]
    assert running.run("delete", "model", *names).code == 0
    assert running.process is not None
    root = psutil.Process(running.process.pid)
    wait_until(
        "the models' processes are gone",
        lambda: not any(_own_bytes(each) for each in root.children(recursive=True)),
    )
    with pytest.raises(httpx.HTTPStatusError):
        running.data.get(f"/v2/models/{linears[0].name}").raise_for_status()
