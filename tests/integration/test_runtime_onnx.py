"""ONNX in MLServer: our runtime class, asked over REST and gRPC by tritonclient. One server for the whole file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import pytest_asyncio
import tritonclient.grpc.aio
import tritonclient.http.aio
from onnx import TensorProto, helper

from overbook.agent.servers.mlserver.server import MlserverServer
from overbook.agent.servers.protocol import ModelRejected, PreparedModel
from overbook.wire import oip_pb2
from tests.integration import mlserver_harness, onnx_models, own_doors

pytestmark = pytest.mark.asyncio(loop_scope="module")
CALL = 30.0
Answers = dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MlserverServer]:
    running = mlserver_harness.server(tmp_path_factory.mktemp("server"))
    await running.start(timeout=60)
    yield running
    await running.close()


@pytest_asyncio.fixture(loop_scope="module")
async def client(server: MlserverServer) -> AsyncIterator[httpx.AsyncClient]:
    async with own_doors.http_client(server.addresses.rest) as made:
        yield made


async def load(server: MlserverServer, name: str, file: Path) -> PreparedModel:
    model = PreparedModel(name, 1, file.parent, requirements=("onnx",))
    await server.validate(model)
    await server.load(model, timeout=CALL)
    return model


def given(name: str, shape: list[int], datatype: str, data: list[object]) -> dict[str, object]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


async def ask(kind: str, server: MlserverServer, name: str, values: Answers) -> Answers:
    """Every output, by ``tritonclient`` of this kind, in binary form."""
    with own_doors.tcp_door(server.addresses.rest) as rest:
        return await _ask(kind, server.addresses.grpc if kind == "grpc" else rest, name, values)


async def _ask(kind: str, url: str, name: str, values: Answers) -> Answers:
    module = tritonclient.grpc.aio if kind == "grpc" else tritonclient.http.aio
    inputs = []
    for each, array in values.items():
        datatype = next(t for t, (_, dtype) in onnx_models.TYPES.items() if dtype == array.dtype)
        tensor = module.InferInput(each, list(array.shape), datatype)
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    asking = module.InferenceServerClient(url)
    try:
        result = await asking.infer(name, inputs)
        said = result.get_response()
        found = said.outputs if kind == "grpc" else said["outputs"]
        names = [each.name if kind == "grpc" else each["name"] for each in found]
        return {each: result.as_numpy(each) for each in names}
    finally:
        await asking.close()


async def ask_json(
    client: httpx.AsyncClient, name: str, datatype: str, values: list[object]
) -> list[object]:
    body = {"inputs": [given("x", [len(values)], datatype, values)]}
    reply = await client.post(f"/v2/models/{name}/infer", json=body)
    assert reply.status_code == 200, reply.text
    return list(reply.json()["outputs"][0]["data"])


@pytest.mark.parametrize("datatype", list(onnx_models.TYPES))
async def test_every_type_there_and_back(
    server: MlserverServer, client: httpx.AsyncClient, tmp_path: Path, datatype: str
) -> None:
    await load(server, "echo", onnx_models.echo(tmp_path / "model.onnx", datatype))
    dtype = onnx_models.TYPES[datatype][1]
    if dtype.kind == "b":
        values = np.array([True, False, True])
    elif dtype.kind in "iu":
        limits = np.iinfo(dtype.name)
        values = np.array([limits.min, 7, limits.max], dtype)
    elif dtype.kind == "f":
        values = np.array([0.1, -2.5, 3e4], dtype)
    else:
        values = np.array(["", "ünï", "a" * 300], dtype=object)
    for kind in ("rest", "grpc"):
        answer = (await ask(kind, server, "echo", {"x": values}))["y"].tolist()
        assert [a.decode() if isinstance(a, bytes) else a for a in answer] == values.tolist()
    assert await ask_json(client, "echo", datatype, values.tolist()) == values.tolist()


async def test_inputs_by_position_and_outputs_by_name(
    server: MlserverServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await load(server, "add-sub", onnx_models.add_sub(tmp_path / "model.onnx", shape=["n", 2]))
    a, b = given("p", [1, 2], "INT32", [1, 2]), given("q", [1, 2], "INT32", [[10, 20]])
    body = {"inputs": [a, b], "outputs": [{"name": "diff"}]}
    reply = await client.post("/v2/models/add-sub/infer", json=body)
    assert reply.status_code == 200, reply.text
    (output,) = reply.json()["outputs"]
    assert (output["name"], output["shape"], output["datatype"]) == ("diff", [1, 2], "INT32")
    assert output["data"] == [-9, -18]
    # By name the order does not matter.
    body = {"inputs": [{**b, "name": "b"}, {**a, "name": "a"}]}
    reply = await client.post("/v2/models/add-sub/infer", json=body)
    assert [output["data"] for output in reply.json()["outputs"]] == [[11, 22], [-9, -18]]


async def test_metadata_of_the_model(
    server: MlserverServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    onnx_models.add_sub(tmp_path / "1" / "m.onnx", "FP32", ["n", 3])
    model = await load(server, "meta", tmp_path / "1")
    found = (await client.get("/v2/models/meta")).json()
    assert await server.static_metadata(model) == found
    assert [(t["name"], t["datatype"], t["shape"]) for t in found["inputs"] + found["outputs"]] == [
        ("a", "FP32", [-1, 3]),
        ("b", "FP32", [-1, 3]),
        ("sum", "FP32", [-1, 3]),
        ("diff", "FP32", [-1, 3]),
    ]


@pytest.mark.parametrize("shape", [[], None, [0], [2, 0, 1]])
async def test_scalars_empty_tensors_and_any_rank(
    server: MlserverServer, tmp_path: Path, shape: list[int] | None
) -> None:
    await load(server, "shapes", onnx_models.echo(tmp_path / "model.onnx", "INT64", shape))
    values = np.arange(12, dtype=np.int64).reshape(3, 4) if shape is None else np.ones(shape, int)
    for kind in ("rest", "grpc"):
        answer = (await ask(kind, server, "shapes", {"x": values}))["y"]
        assert answer.tolist() == values.tolist()
        assert answer.shape == values.shape


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ([given("z", [1], "INT32", [1])] * 3, "inputs[0].name: 'z'; expected one of 'a', 'b'"),
        ([given("a", [16], "INT32", [1] * 16)], "inputs: 'b' is missing"),
        ([given("a", [16], "INT32", [1] * 16)] * 2, "inputs[1].name: 'a' is given twice"),
        ([given("a", [16], "FP32", [1] * 16)], "input 'a': datatype: FP32; expected INT32"),
        ([given("a", [8], "INT32", [1] * 8)], "input 'a': shape: [8]; expected [16]"),
        ([given("a", [1, 16], "INT32", [1] * 16)], "input 'a': shape: [1, 16]; expected [16]"),
        (
            [given("a", [16], "INT32", [1] * 15)],
            "input 'a': data: 15 elements; shape [16] takes 16",
        ),
        ([given("a", [16], "INT32", [1.5] * 16)], "input 'a': data: not INT32 throughout"),
        ([given("a", [16], "INT32", [2**40] * 16)], "input 'a': data: not INT32 throughout"),
        ([given("a", [16], "INT32", ["1"] * 16)], "input 'a': data: not INT32 throughout"),
        ([given("a", [16], "INT32", [[1], [1, 2]])], "input 'a': data: not INT32 throughout"),
    ],
)
async def test_bad_requests_say_what_is_wrong(
    server: MlserverServer,
    client: httpx.AsyncClient,
    tmp_path: Path,
    inputs: list[dict[str, object]],
    reason: str,
) -> None:
    await load(server, "strict", onnx_models.add_sub(tmp_path / "model.onnx"))
    reply = await client.post("/v2/models/strict/infer", json={"inputs": inputs})
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"].startswith(reason)
    with pytest.raises(tritonclient.grpc.aio.InferenceServerException) as raised:
        await ask("grpc", server, "strict", {"a": np.ones(3, np.int32)})
    assert raised.value.status() == "StatusCode.INVALID_ARGUMENT"


async def test_an_unknown_output_and_what_only_the_graph_knows(
    server: MlserverServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await load(server, "free", onnx_models.add_sub(tmp_path / "model.onnx", "FP32", ["n"]))
    one = given("a", [3], "FP32", [1, None, 3])
    body = {"inputs": [one, {**one, "name": "b"}], "outputs": [{"name": "nope"}]}
    reply = await client.post("/v2/models/free/infer", json=body)
    assert reply.json() == {"error": "outputs[0].name: 'nope'; expected one of 'sum', 'diff'"}
    reply = await client.post("/v2/models/free/infer", json={"inputs": body["inputs"]})
    assert reply.json()["outputs"][0]["data"] == [2.0, None, 6.0]
    other = given("b", [2], "FP32", [1, 2])
    reply = await client.post("/v2/models/free/infer", json={"inputs": [one, other]})
    assert reply.status_code == 400
    assert "Attempting to broadcast an axis" in reply.json()["error"]
    assert "onnxruntime_src" not in reply.json()["error"]


async def test_a_classifier_with_probabilities_as_dictionaries(
    server: MlserverServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    maps = helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    nodes = [
        helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
        helper.make_node("ZipMap", ["x"], ["p"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]),
    ]
    outputs = [
        onnx_models.value("label", "INT64", ["n"]),
        helper.make_value_info("p", helper.make_sequence_type_proto(maps)),
    ]
    inputs = [onnx_models.value("x", "FP32", ["n", 2])]
    await load(server, "zip", onnx_models.save(tmp_path / "model.onnx", nodes, inputs, outputs))
    body = {"inputs": [given("x", [2, 2], "FP32", [0.1, 0.9, 0.8, 0.2])]}
    reply = await client.post("/v2/models/zip/infer", json=body)
    assert [(o["name"], o["data"]) for o in reply.json()["outputs"]] == [("label", [1, 0])]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"this is no model", "model.onnx: Protobuf parsing failed"),
        (b"", "model.onnx: No graph was found in the protobuf"),
        ("opset", r"model.onnx: ONNX Runtime only \*guarantees\* support .* Opset 99"),
        ("half", "model.onnx: Protobuf parsing failed"),
        ("operator", "Nope"),
        ("bfloat", "model.onnx: no output that the protocol has a type for: 'y' is .*bfloat16"),
    ],
)
async def test_what_cannot_be_loaded_is_refused_with_the_reason(
    server: MlserverServer, tmp_path: Path, content: bytes | str, reason: str
) -> None:
    file = tmp_path / "model.onnx"
    x, y = onnx_models.value("x", "FP32", ["n"]), onnx_models.value("y", "FP32", ["n"])
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content == "half":
        whole = onnx_models.dense(file, layers=1, width=64).read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
    elif content == "bfloat":
        node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)
        y = helper.make_tensor_value_info("y", TensorProto.BFLOAT16, ["n"])
        onnx_models.save(file, [node], [x], [y])
    else:
        node = helper.make_node("Nope" if content == "operator" else "Identity", ["x"], ["y"])
        onnx_models.save(file, [node], [x], [y], opset=99 if content == "opset" else 17)
    with pytest.raises(ModelRejected) as raised:
        await load(server, "bad", file)
    assert str(raised.value).startswith("MLServer refused bad: ")
    assert "\n" not in str(raised.value)
    assert "onnxruntime_src" not in str(raised.value)
    assert raised.match(reason)


async def test_a_long_prediction_holds_up_nobody(
    server: MlserverServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await load(server, "small", onnx_models.echo(tmp_path / "small" / "model.onnx", "INT64"))
    file = onnx_models.dense(tmp_path / "large" / "model.onnx", layers=20, width=1024)
    await load(server, "large", file)
    small = {"inputs": [given("x", [1], "INT64", [1])]}
    rows = np.ones((100, 1024), np.float32)
    asked = asyncio.create_task(ask("grpc", server, "large", {"x": rows}))
    worst, answered = 0.0, 0
    while not asked.done():
        begun = time.perf_counter()
        await client.post("/v2/models/small/infer", json=small)
        worst, answered = max(worst, time.perf_counter() - begun), answered + 1
    assert (await asked)["y"].shape == (100, 1024)
    assert answered > 3


async def test_memory_is_given_back(server: MlserverServer, tmp_path: Path) -> None:
    model_file = onnx_models.dense(tmp_path / "model.onnx", layers=10, width=1024)
    levels = []
    for _ in range(10):
        await load(server, "heavy", model_file)
        await ask("grpc", server, "heavy", {"x": np.ones((4, 1024), np.float32)})
        loaded = mlserver_harness.own_bytes(server.pid)
        await server.unload("heavy", timeout=CALL)
        levels.append((loaded, mlserver_harness.own_bytes(server.pid)))
    size = levels[0][0] - levels[0][1]
    assert size > 35_000_000
    assert levels[-1][1] - levels[1][1] < size / 10


async def test_grpc_with_typed_contents(server: MlserverServer, tmp_path: Path) -> None:
    await load(server, "typed", onnx_models.add_sub(tmp_path / "model.onnx", "INT64", ["n"]))
    tensor = oip_pb2.ModelInferRequest.InferInputTensor
    inputs = [
        tensor(
            name=name,
            datatype="INT64",
            shape=[2],
            contents=oip_pb2.InferTensorContents(int64_contents=[5, number]),
        )
        for number, name in enumerate("ab")
    ]
    async with grpc.aio.insecure_channel(server.addresses.grpc) as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=oip_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=oip_pb2.ModelInferResponse.FromString,
        )
        request = oip_pb2.ModelInferRequest(model_name="typed", inputs=inputs)
        reply = await infer(request, timeout=CALL)
    assert [list(output.contents.int64_contents) for output in reply.outputs] == [[10, 1], [0, -1]]
