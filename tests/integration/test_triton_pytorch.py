"""The TorchScript backend inside a real Triton, where it is installed: PyTorch is 3 GB to download on Linux.

By hand: overbook runtime install triton --with pytorch
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from tritonclient.utils import InferenceServerException

from overbook.agent.servers.protocol import ModelRejected
from overbook.agent.servers.triton.server import TritonServer
from tests.integration import triton_harness as harness
from tests.integration.triton_harness import CALL, Array, Client, model, texts

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def torchscript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if "pytorch" not in harness.runtime().extras:
        pytest.skip("PyTorch is not installed: overbook runtime install triton --with pytorch")
    return harness.written_inside("torch_models.py", tmp_path_factory.mktemp("torch"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(
    torchscript: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[TritonServer]:
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


def tensors(kind: str, data_type: str, dims: str, *names: str) -> str:
    listed = ", ".join(
        f'{{ name: "{name}" data_type: {data_type} dims: {dims} }}' for name in names
    )
    return f"{kind} [ {listed} ]\n"


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        (("INPUT__0", "INPUT__1"), ("OUTPUT__0", "OUTPUT__1")),
        # In another order than forward() has them.
        (("second", "first"), ("sum", "difference")),
        (("one", "two"), ("sum", "difference")),
    ],
)
async def test_tensors_by_number_by_argument_or_in_order(
    server: TritonServer,
    client: Client,
    torchscript: Path,
    inputs: tuple[str, str],
    outputs: tuple[str, str],
) -> None:
    config = tensors("input", "TYPE_FP32", "[ 4 ]", *inputs)
    config += tensors("output", "TYPE_FP32", "[ 4 ]", *outputs)
    await server.load(model("adds", torchscript / "add_sub", config), timeout=CALL)
    a, b = np.arange(4, dtype=np.float32), np.ones(4, dtype=np.float32)
    swapped = inputs[0] == "second"
    given: dict[str, Array] = dict(zip(inputs, (b, a) if swapped else (a, b), strict=True))
    answered = await client.infer("adds", given)
    np.testing.assert_array_equal(answered[outputs[0]], a + b)
    np.testing.assert_array_equal(answered[outputs[1]], a - b)
    only = await client.infer("adds", given, (outputs[1],))
    assert set(only) == {outputs[1]}


async def test_strings_and_dictionaries(
    server: TritonServer, client: Client, torchscript: Path
) -> None:
    config = tensors("input", "TYPE_STRING", "[ -1 ]", "INPUT__0")
    config += tensors("output", "TYPE_STRING", "[ -1 ]", "OUTPUT__0")
    await server.load(model("shouts", torchscript / "shout", config), timeout=CALL)
    answered = await client.infer("shouts", {"INPUT__0": texts("hey", "zwölf")})
    assert answered["OUTPUT__0"].tolist() == [b"hey!", "zwölf!".encode()]
    config = tensors("input", "TYPE_INT64", "[ 2 ]", "p", "q")
    config += tensors("output", "TYPE_INT64", "[ 2 ]", "sum")
    await server.load(model("named", torchscript / "named", config), timeout=CALL)
    two = np.array([1, 2], dtype=np.int64)
    assert (await client.infer("named", {"p": two, "q": two}))["sum"].tolist() == [2, 4]


async def test_batches_and_one_that_fails(
    server: TritonServer, client: Client, torchscript: Path
) -> None:
    config = "max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 50000 }\n"
    config += tensors("input", "TYPE_FP32", "[ 2 ]", "x")
    config += tensors("output", "TYPE_FP32", "[ 2 ]", "OUTPUT__0")
    await server.load(model("scaled", torchscript / "scaled", config), timeout=CALL)

    async def ask(number: float) -> object:
        try:
            given = np.full((2, 2), number, dtype=np.float32)
            return (await client.infer("scaled", {"x": given}))["OUTPUT__0"].tolist()
        except InferenceServerException as error:
            return error.message()

    answers = await asyncio.gather(*(ask(number) for number in (1, -1, 3)))
    assert answers[0] == [[2, 2], [2, 2]]
    assert "x is negative" in str(answers[1])
    assert answers[2] == [[6, 6], [6, 6]]


async def test_what_is_no_torchscript_is_refused(
    server: TritonServer, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "model.pt").write_bytes(b"not a model")
    config = tensors("input", "TYPE_FP32", "[ 1 ]", "x") + tensors(
        "output", "TYPE_FP32", "[ 1 ]", "y"
    )
    with pytest.raises(ModelRejected, match=r"cannot load model\.pt as TorchScript"):
        await server.load(model("broken", tmp_path, config), timeout=CALL)
