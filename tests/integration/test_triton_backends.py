"""The backends inside a real Triton: what NVIDIA's accept, they accept. One server for the whole file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import pytest_asyncio
from onnx import helper, numpy_helper
from tritonclient.utils import InferenceServerException

from overbook.agent.servers.protocol import ModelRejected, PreparedModel, Presence
from overbook.agent.servers.triton import config as triton_config
from overbook.agent.servers.triton.backends import PINNED_ONNX, pip_offer
from overbook.agent.servers.triton.server import TritonServer
from overbook.artifacts.pickled import pickles_in
from overbook.artifacts.walk import walk
from tests.integration import own_doors
from tests.integration import triton_harness as harness
from tests.integration.onnx_models import TYPES, add_sub, dense, echo, save, value
from tests.integration.triton_harness import CALL, Array, Client, model, texts

pytestmark = pytest.mark.asyncio(loop_scope="module")
OFFER = pip_offer(("onnx", "tensorflow"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TritonServer]:
    running = harness.server(tmp_path_factory.mktemp("server"))
    await running.start(timeout=60)
    yield running
    await running.stop(grace=10)
    await running.close()


@pytest_asyncio.fixture(loop_scope="module")
async def client(server: TritonServer) -> AsyncIterator[Client]:
    made = Client(server.addresses.grpc)
    yield made
    await made.close()
    for name in await server.index(timeout=CALL):
        await server.unload(name, timeout=CALL)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return harness.saved_models(tmp_path_factory.mktemp("saved"))


async def test_saved_models_are_not_taken_for_pickles(saved: Path) -> None:
    assert any(name.endswith("saved_model.pb") for name, _ in walk(saved))
    assert pickles_in(saved) == []


async def load(server: TritonServer, prepared: PreparedModel) -> None:
    await server.validate(prepared)
    await server.load(prepared, timeout=CALL)


async def error_of(client: Client, name: str, **inputs: Array) -> InferenceServerException:
    with pytest.raises(InferenceServerException) as caught:
        await client.infer(name, inputs)
    return caught.value


def a_value(datatype: str, size: int = 3) -> Array:
    if datatype == "BYTES":
        return texts("one", "zwölf", "")[:size]
    return np.arange(size).astype(TYPES[datatype][1])


async def test_every_type_in_onnx(server: TritonServer, client: Client, tmp_path: Path) -> None:
    tensors = {name: value(f"in_{name}", name, ["n"]) for name in TYPES}
    results = [value(f"out_{name}", name, ["n"]) for name in TYPES]
    nodes = [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in TYPES]
    save(tmp_path / "model.onnx", nodes, list(tensors.values()), results)
    await load(server, model("echo", tmp_path))
    for size in (3, 1, 0):
        given = {f"in_{name}": a_value(name, size) for name in TYPES}
        answered = await client.infer("echo", given)
        for name in TYPES:
            np.testing.assert_array_equal(answered[f"out_{name}"], given[f"in_{name}"])
            assert answered[f"out_{name}"].dtype == given[f"in_{name}"].dtype


async def test_every_type_in_tensorflow(server: TritonServer, client: Client, saved: Path) -> None:
    await load(server, model("echo", saved / "echo"))
    for size in (3, 1, 0):
        given = {name: a_value(name, size) for name in TYPES}
        answered = await client.infer("echo", given)
        for name in TYPES:
            np.testing.assert_array_equal(answered[f"{name}_OUT"], given[name])
    # Strings longer than what TensorFlow keeps in place, and any bytes at all.
    odd = texts("x" * 1000, b"\xff\x00", "")
    answered = await client.infer("echo", {**given, "BYTES": odd}, ("BYTES_OUT",))
    assert answered["BYTES_OUT"].tolist() == odd.tolist()
    assert set(answered) == {"BYTES_OUT"}


async def test_the_missions_example(server: TritonServer, client: Client, saved: Path) -> None:
    prepared = model("simple", saved / "add_sub")
    await load(server, prepared)
    first, second = np.arange(16, dtype=np.int32), np.full(16, 2, dtype=np.int32)
    answered = await client.infer("simple", {"INPUT0": first, "INPUT1": second})
    np.testing.assert_array_equal(answered["OUTPUT0"], first + second)
    np.testing.assert_array_equal(answered["OUTPUT1"], first - second)
    only = await client.infer("simple", {"INPUT0": first, "INPUT1": second}, ("OUTPUT1",))
    assert set(only) == {"OUTPUT1"}


async def test_tables_variables_and_scalars_in_tensorflow(
    server: TritonServer, client: Client, saved: Path
) -> None:
    await load(server, model("words", saved / "words"))
    given = {"words": texts("cat", "fox"), "factor": np.array([2.0], dtype=np.float32)}
    answered = await client.infer("words", given)
    assert answered["upper"].tolist() == [b"CAT", b"FOX"]
    assert answered["number"].tolist() == [1, -1]
    assert answered["product"].tolist() == [6.0]


async def test_scalars_and_dynamic_shapes_in_onnx(
    server: TritonServer, client: Client, tmp_path: Path
) -> None:
    node = helper.make_node("Mul", ["x", "factor"], ["y"])
    total = helper.make_node("ReduceSum", ["y"], ["total"], keepdims=0)
    save(
        tmp_path / "model.onnx",
        [node, total],
        [value("x", "FP32", ["rows", "columns"]), value("factor", "FP32", [])],
        [value("y", "FP32", ["rows", "columns"]), value("total", "FP32", [])],
    )
    await load(server, model("scaled", tmp_path))
    for shape in ((2, 3), (1, 1), (0, 4)):
        x = np.ones(shape, dtype=np.float32)
        answered = await client.infer("scaled", {"x": x, "factor": np.array([2], np.float32)})
        np.testing.assert_array_equal(answered["y"], x * 2)
        assert answered["total"].tolist() == [x.sum() * 2]


async def test_defaults_in_the_file_may_be_sent_or_not(
    server: TritonServer, client: Client, tmp_path: Path
) -> None:
    default = numpy_helper.from_array(np.array([10.0], dtype=np.float32), "bias")
    inputs = [value("x", "FP32", ["n"]), value("bias", "FP32", [1])]
    save(
        tmp_path / "model.onnx",
        [helper.make_node("Add", ["x", "bias"], ["y"])],
        inputs,
        [value("y", "FP32", ["n"])],
        constants=[default],
    )
    listed = 'input [ { name: "x" }, { name: "bias" optional: true } ]'
    await load(server, model("biased", tmp_path, listed))
    x = np.zeros(2, dtype=np.float32)
    assert (await client.infer("biased", {"x": x}))["y"].tolist() == [10, 10]
    bias = np.array([1], dtype=np.float32)
    assert (await client.infer("biased", {"x": x, "bias": bias}))["y"].tolist() == [1, 1]


@pytest.mark.parametrize("kind", ["onnx", "tensorflow"])
async def test_batches_of_many_requests(
    server: TritonServer, client: Client, saved: Path, tmp_path: Path, kind: str
) -> None:
    """Requests wait for each other, are computed together, and each gets its own rows."""
    config = "max_batch_size: 16 dynamic_batching { max_queue_delay_microseconds: 50000 }"
    if kind == "onnx":
        add_sub(tmp_path / "model.onnx", shape=("batch", 16))
        names = ("a", "b", "sum", "diff")
        await load(server, model("batched", tmp_path, config))
    else:
        (tmp_path / "model.savedmodel").symlink_to(saved / "batched")
        names = ("INPUT0", "INPUT1", "OUTPUT0", "OUTPUT1")
        await load(server, model("batched", tmp_path, config))

    async def ask(number: int) -> None:
        rows = 1 + number % 3
        first = np.full((rows, 16), number, dtype=np.int32)
        second = np.arange(rows * 16, dtype=np.int32).reshape(rows, 16)
        answered = await client.infer("batched", {names[0]: first, names[1]: second})
        np.testing.assert_array_equal(answered[names[2]], first + second)
        np.testing.assert_array_equal(answered[names[3]], first - second)

    await asyncio.gather(*(ask(number) for number in range(60)))
    statistics = await client.raw.get_inference_statistics("batched", as_json=True)
    counted = statistics["model_stats"][0]
    assert int(counted["execution_count"]) < int(counted["inference_count"])


async def test_a_batch_in_which_one_fails_harms_no_other(
    server: TritonServer, client: Client, saved: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.savedmodel").symlink_to(saved / "failing")
    config = "max_batch_size: 12 dynamic_batching { max_queue_delay_microseconds: 100000 } "
    config += 'input [ { name: "x" dims: [ 1 ] reshape { shape: [ ] } } ] '
    config += 'output [ { name: "y" dims: [ 3 ] } ]'
    await load(server, model("failing", tmp_path, config))

    async def ask(number: float) -> object:
        given = np.full((3, 1), number, dtype=np.float32)
        try:
            return (await client.infer("failing", {"x": given}))["y"].tolist()
        except InferenceServerException as error:
            return error.message()

    answers = await asyncio.gather(*(ask(number) for number in (1, 2, -1, 3)))
    assert answers[0] == [[1, 1, 1]]
    assert answers[1] == [[2, 2, 2]]
    assert "x is negative" in str(answers[2])
    assert answers[3] == [[3, 3, 3]]


@pytest.mark.parametrize("kind", ["onnx", "tensorflow"])
async def test_wrong_tensors_get_the_servers_own_error(
    server: TritonServer, client: Client, saved: Path, tmp_path: Path, kind: str
) -> None:
    names = ("a", "b") if kind == "onnx" else ("INPUT0", "INPUT1")
    if kind == "onnx":
        add_sub(tmp_path / "model.onnx")
        await load(server, model("strict", tmp_path))
    else:
        await load(server, model("strict", saved / "add_sub"))
    good = np.zeros(16, dtype=np.int32)
    wrong_shape = {names[0]: np.zeros(15, dtype=np.int32), names[1]: good}
    assert (
        "unexpected shape for input" in (await error_of(client, "strict", **wrong_shape)).message()
    )
    wrong_type: dict[str, Array] = {names[0]: np.zeros(16, dtype=np.int64), names[1]: good}
    failure = await error_of(client, "strict", **wrong_type)
    assert "data-type is 'INT64', but model 'strict' expects 'INT32'" in failure.message()
    assert failure.status() == "StatusCode.INVALID_ARGUMENT"
    missing = await error_of(client, "strict", **{names[0]: good})
    assert "expected 2 inputs but got 1" in missing.message()
    assert set(await client.infer("strict", {names[0]: good, names[1]: good}))


async def test_a_computation_that_fails_says_why_over_both_protocols(
    server: TritonServer, client: Client, saved: Path, tmp_path: Path
) -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    rows = numpy_helper.from_array(np.array([-1, 3], dtype=np.int64), "shape")
    inputs, outputs = [value("x", "FP32", ["n"])], [value("y", "FP32", ["r", 3])]
    save(tmp_path / "model.onnx", [node], inputs, outputs, constants=[rows])
    await load(server, model("rows", tmp_path))
    await load(server, model("failing", saved / "failing"))
    assert (
        "onnx runtime error"
        in (await error_of(client, "rows", x=np.zeros(4, np.float32))).message()
    )
    negative = await error_of(client, "failing", x=np.full(3, -1, np.float32))
    assert "x is negative" in negative.message()
    tensor = {"name": "x", "shape": [4], "datatype": "FP32", "data": [0, 0, 0, 0]}
    async with own_doors.http_client(server.addresses.rest) as rest:
        reply = await rest.post("/v2/models/rows/infer", json={"inputs": [tensor]})
    assert reply.status_code in (400, 500)
    assert "onnx runtime error" in reply.json()["error"]
    assert len((await client.infer("rows", {"x": np.zeros(6, np.float32)}))["y"]) == 2


async def test_metadata_before_and_after_a_load_is_the_same(
    server: TritonServer, saved: Path, tmp_path: Path, client: Client
) -> None:
    echo(tmp_path / "a" / "some.onnx", "BYTES")
    add_sub(tmp_path / "b" / "1" / "model.onnx", shape=("n", 16))
    prepared = (
        model("plain", tmp_path / "a"),
        model("batch", tmp_path / "b", 'platform: "onnxruntime_onnx" max_batch_size: 4'),
        model("words", saved / "words"),
    )
    for each in prepared:
        await load(server, each)
        told = await server.static_metadata(each)
        assert dict(await server.metadata(each.name, timeout=CALL)) == told


async def test_parameters_of_nvidias_backends_are_taken(
    server: TritonServer, client: Client, saved: Path, tmp_path: Path
) -> None:
    add_sub(tmp_path / "one" / "model.onnx")
    config = """
    instance_group [ { count: 2 kind: KIND_GPU } ]
    optimization { graph { level: 1 } execution_accelerators {
      gpu_execution_accelerator: [ { name: "tensorrt" parameters { key: "precision_mode" value: "FP16" } } ]
      cpu_execution_accelerator: [ { name: "openvino" } ] } }
    parameters { key: "intra_op_thread_count" value { string_value: "2" } }
    parameters { key: "inter_op_thread_count" value { string_value: "2" } }
    parameters { key: "execution_mode" value { string_value: "1" } }
    parameters { key: "enable_mem_arena" value { string_value: "1" } }
    """
    await load(server, model("tuned", tmp_path / "one", config))
    ones = np.ones(16, dtype=np.int32)
    assert (await client.infer("tuned", {"a": ones, "b": ones}))["sum"].tolist() == [2] * 16
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "model.savedmodel").symlink_to(saved / "two")
    config = """
    parameters { key: "TF_SIGNATURE_DEF" value { string_value: "rows" } }
    parameters { key: "TF_NUM_INTRA_THREADS" value { string_value: "2" } }
    """
    await load(server, model("chosen", tmp_path / "two", config))
    rows = np.ones((3, 16), dtype=np.int32)
    assert (await client.infer("chosen", {"INPUT0": rows, "INPUT1": rows}))["OUTPUT0"].shape == (
        3,
        16,
    )
    bad = 'parameters { key: "intra_op_thread_count" value { string_value: "many" } }'
    with pytest.raises(ModelRejected, match="intra_op_thread_count' is 'many', expected a whole"):
        await load(server, model("untuned", tmp_path / "one", bad))


async def test_weights_in_files_beside_the_model(
    server: TritonServer, client: Client, tmp_path: Path
) -> None:
    path = dense(tmp_path / "1" / "model.onnx", layers=2, width=64)
    whole = onnx.load(str(path))
    onnx.save(
        whole, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    await load(server, model("external", tmp_path))
    answered = await client.infer("external", {"x": np.ones((1, 64), np.float32)})
    assert answered["y"].shape == (1, 64)


async def test_an_older_artifact_is_loaded_in_place_of_a_newer(
    server: TritonServer, client: Client, tmp_path: Path
) -> None:
    for folder, added in (("one", 1.0), ("two", 2.0)):
        constant = numpy_helper.from_array(np.array([added], dtype=np.float32), "c")
        save(
            tmp_path / folder / "model.onnx",
            [helper.make_node("Add", ["x", "c"], ["y"])],
            [value("x", "FP32", ["n"])],
            [value("y", "FP32", ["n"])],
            constants=[constant],
        )
    zero = {"x": np.zeros(1, dtype=np.float32)}
    for folder, expected in (("two", 2.0), ("one", 1.0), ("two", 2.0)):
        await load(server, model("updated", tmp_path / folder))
        assert (await client.infer("updated", zero))["y"].tolist() == [expected]


async def test_models_that_only_the_server_can_refuse(
    server: TritonServer, client: Client, tmp_path: Path
) -> None:
    node = helper.make_node("NoSuchOperator", ["x"], ["y"])
    tensors = [value("x", "FP32", ["n"])], [value("y", "FP32", ["n"])]
    save(tmp_path / "model.onnx", [node], *tensors)
    with pytest.raises(ModelRejected, match="NoSuchOperator"):
        await load(server, model("odd", tmp_path))
    assert await server.presence("odd", timeout=CALL) is Presence.ABSENT


async def test_the_limits_of_onnx_are_those_of_the_pinned_runtime(
    server: TritonServer, client: Client, tmp_path: Path
) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    tensors = [value("x", "FP32", ["n"])], [value("y", "FP32", ["n"])]
    save(tmp_path / "newest" / "model.onnx", [node], *tensors, opset=PINNED_ONNX.opset)
    await load(server, model("newest", tmp_path / "newest"))
    save(tmp_path / "newer" / "model.onnx", [node], *tensors, opset=PINNED_ONNX.opset + 1)
    newer = model("newer", tmp_path / "newer")
    with pytest.raises(ModelRejected, match=f"opset is {PINNED_ONNX.opset + 1}, expected at most"):
        await server.validate(newer)
    # The server itself agrees: this is the newest there is.
    described = triton_config.describe(newer)
    assert described.backend == "onnxruntime"
    lock = harness.runtime().plugin.parent / "extras" / "onnx.lock"
    assert f"onnxruntime=={PINNED_ONNX.onnxruntime} " in lock.read_text()


async def test_a_saved_model_without_a_signature_is_refused_before_any_load(saved: Path) -> None:
    with pytest.raises(ModelRejected, match="its SavedModel has no signature"):
        triton_config.validate(model("unsigned", saved / "unsigned"), OFFER)
    with pytest.raises(ModelRejected, match="signatures plain, rows and no serving_default"):
        triton_config.validate(model("two", saved / "two"), OFFER)


async def test_memory_is_given_back_after_each(
    server: TritonServer, client: Client, saved: Path, tmp_path: Path
) -> None:
    dense(tmp_path / "model.onnx", layers=4, width=1024)
    before = await server.memory()
    for prepared in (model("big", tmp_path), model("words", saved / "words")):
        await load(server, prepared)
        loaded = await server.memory()
        assert loaded.bytes - before.bytes > 16_000_000
        taken = await server.model_memory(prepared.name)
        assert taken is not None
        assert taken.bytes > 16_000_000
        await server.unload(prepared.name, timeout=CALL)
        after = await server.memory()
        async with asyncio.timeout(10):
            # A process that ended is counted until Triton has taken note of its end.
            while after.processes != before.processes:
                await asyncio.sleep(0.05)
                after = await server.memory()
        assert after.bytes - before.bytes < 4_000_000


_PYTHON_CONFIG = """
backend: "python"
input [ { name: "x" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_STRING dims: [ 1 ] } ]
"""
_PYTHON_CODE = """
import os

import helper
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        tensor = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
        word = tensor[0].decode()
        if word == "raise":
            raise ValueError("as asked")
        if word == "exit":
            os._exit(3)
        return pb_utils.InferenceResponse([pb_utils.Tensor("y", tensor + helper.SUFFIX)])
"""


async def test_a_python_model_that_raises_or_exits_while_it_serves(
    server: TritonServer, client: Client, tmp_path: Path
) -> None:
    version = tmp_path / "1"
    version.mkdir()
    (version / "model.py").write_text(_PYTHON_CODE)
    (version / "helper.py").write_text("SUFFIX = b'!'")
    add_sub(tmp_path / "other" / "model.onnx")
    await load(server, model("script", tmp_path, _PYTHON_CONFIG))
    await load(server, model("other", tmp_path / "other"))
    assert (await client.infer("script", {"x": texts("hi")}))["y"].tolist() == [b"hi!"]
    assert "ValueError: as asked" in (await error_of(client, "script", x=texts("raise"))).message()
    assert (await client.infer("script", {"x": texts("on")}))["y"].tolist() == [b"on!"]
    before = await server.memory()
    with pytest.raises(InferenceServerException):
        await client.infer("script", {"x": texts("exit")})
    assert await asyncio.wait_for(server.wait_lost(), CALL) == "script"
    ones = np.ones(16, dtype=np.int32)
    assert (await client.infer("other", {"a": ones, "b": ones}))["sum"].tolist() == [2] * 16
    assert (await server.memory()).bytes < before.bytes
    await load(server, model("script", tmp_path, _PYTHON_CONFIG))
    assert (await client.infer("script", {"x": texts("back")}))["y"].tolist() == [b"back!"]
    written = {path.name for path in version.iterdir()}
    assert written == {"model.py", "helper.py"}
