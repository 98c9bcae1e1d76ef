"""Real models of the frameworks that MLServer gets as extras, against a real server that has them all.

They are trained in the runtime's environment, so that versions match.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import pytest_asyncio

from overbook.agent.servers.mlserver.server import MlserverServer
from overbook.agent.servers.protocol import ModelRejected, PreparedModel
from overbook.artifacts.pickled import pickles_in
from overbook.runtimes.catalogue import runtime
from overbook.runtimes.install import RuntimeEnvironment
from tests.integration import mlserver_harness, own_doors
from tests.integration.infer_ways import ERROR, Ways

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]
CALL = 60.0
SCRIPT = Path(__file__).with_name("make_models.py")
TABLES = Path(__file__).parent / "inside" / "told_tables.py"
REQUIREMENTS = {
    "xgboost-json": "xgboost",
    "xgboost-ubj": "xgboost",
    "xgboost-pickle": "xgboost",
    "lightgbm-txt": "lightgbm",
    "catboost-classifier": "catboost",
    "catboost-words": "catboost",
    "catboost-regressor": "catboost",
    "mlflow-plain": "mlflow",
    "mlflow-signature": "mlflow",
}
# Fitted with tables or texts: the word is the requirement.
TOLD = (
    *("xgboost", "xgboost-numbers", "lightgbm", "catboost"),
    *("mlflow-signed", "mlflow-unsigned", "mlflow-texts"),
)
MISSING = {
    "mlflow-signed": (
        "inputs: model is missing inputs ['age']; the model's signature is "
        "'age' (INT64), 'income' (FP64), 'city' (BYTES), 'review' (BYTES)"
    )
}


@dataclass(frozen=True, slots=True)
class Made:
    environment: RuntimeEnvironment
    capabilities: tuple[str, ...]
    models: Path
    # What those of `TOLD` answer in a process of their own.
    told: dict[str, list[Any]]

    def model(self, name: str, *requirements: str) -> PreparedModel:
        words = requirements or (REQUIREMENTS.get(name) or name.partition("-")[0],)
        return PreparedModel(name, 1, self.models / name, requirements=words)


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    cache = request.config.cache
    assert cache is not None
    found = mlserver_harness.with_all_extras(cache.mkdir("runtimes"))
    offered = runtime("mlserver").offers(found.extras)
    models = tmp_path_factory.mktemp("models")
    for script in ((SCRIPT,), (TABLES, "train"), (TABLES, "ask")):
        command = [found.python, "-I", "-W", "ignore", *script, models]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/")
        assert done.returncode == 0, done.stderr
    return Made(found, offered, models, json.loads(done.stdout))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(
    made: Made, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[MlserverServer]:
    running = mlserver_harness.server(tmp_path_factory.mktemp("s"), made.environment)
    await running.start(timeout=120)
    yield running
    await running.close()


@pytest_asyncio.fixture(loop_scope="module")
async def client(server: MlserverServer) -> AsyncIterator[httpx.AsyncClient]:
    async with own_doors.http_client(server.addresses.rest) as made:
        yield made


async def test_capabilities_follow_what_is_installed(made: Made) -> None:
    assert (
        set(made.capabilities)
        == {"mlserver", "sklearn", "python", "onnx"} | mlserver_harness.EXTRAS
    )


async def test_only_pickles_are_taken_for_pickles(made: Made) -> None:
    """By content: of the frameworks' own formats none looks like one."""
    for name in REQUIREMENTS:
        files = [each for each in (made.models / name).rglob("*") if each.is_file()]
        pickles = [each.name for each in files if each.suffix == ".pkl"]
        assert pickles_in(made.models / name) == pickles
        for each in files:
            each.rename(each.with_name(f"{each.name}.txt"))
        assert pickles_in(made.models / name) == [f"{each}.txt" for each in pickles]
        for each in files:
            each.with_name(f"{each.name}.txt").rename(each)
    assert pickles_in(made.models / "xgboost-pickle") == ["model.pkl"]


@pytest.mark.parametrize("name", list(REQUIREMENTS))
async def test_a_plain_artifact_answers_as_in_process(
    made: Made, server: MlserverServer, client: httpx.AsyncClient, name: str
) -> None:
    expected = json.loads((made.models / f"{name}.json").read_text())
    model = made.model(name)
    await server.validate(model)
    await server.load(model, timeout=CALL)
    reply = await client.post(f"/v2/models/{name}/infer", json=body(name, expected["rows"]))
    assert reply.status_code == 200, reply.text
    answers = reply.json()["outputs"][0]["data"]
    if isinstance(expected["answers"][0], str):
        assert answers == expected["answers"]
    else:
        assert answers == pytest.approx(expected["answers"], rel=1e-5)
    await server.unload(name, timeout=CALL)


def body(name: str, rows: list[list[float]]) -> dict[str, object]:
    if name == "mlflow-signature":
        columns = [
            {
                "name": word,
                "shape": [len(rows), 1],
                "datatype": "FP32",
                "data": [r[n] for r in rows],
            }
            for n, word in enumerate("abcd")
        ]
        return {"inputs": columns}
    flat = [value for row in rows for value in row]
    tensor: dict[str, object] = {
        "name": "x",
        "shape": [len(rows), len(rows[0])],
        "datatype": "FP32",
        "data": flat,
    }
    if name.startswith("mlflow"):
        # Without a signature MLflow's class makes a dictionary of the inputs, unless told otherwise.
        return {"inputs": [tensor], "parameters": {"content_type": "np"}}
    return {"inputs": [tensor]}


@pytest.mark.parametrize("name", TOLD)
async def test_a_model_is_given_what_it_was_fitted_with_whichever_way_it_is_sent(
    made: Made, server: MlserverServer, name: str
) -> None:
    inputs = json.loads((made.models / f"{name}.json").read_text())
    await server.load(made.model(name), timeout=CALL)
    expected = made.told[name]
    with closing(Ways(server.addresses.rest, server.addresses.grpc)) as ways:
        for way, ask in ways.all.items():
            # In any order, where there are columns.
            for sent in (inputs, inputs[::-1]):
                (values,) = ask(name, sent).values()
                is_text = isinstance(expected[0], str)
                assert values == (expected if is_text else pytest.approx(expected)), way
            if len(inputs) > 1:
                refused = ask(name, inputs[1:])
                assert refused == {ERROR: MISSING.get(name) or _missing(inputs)}, way
    await server.unload(name, timeout=CALL)


def _missing(inputs: list[dict[str, Any]]) -> str:
    names = ", ".join(repr(each["name"]) for each in inputs)
    return f"inputs: missing 'age'; this model takes the columns {names}"


async def test_outputs_chosen_by_name(
    made: Made, server: MlserverServer, client: httpx.AsyncClient
) -> None:
    rows = json.loads((made.models / "xgboost-json.json").read_text())["rows"]
    for name in ("xgboost-json", "catboost-classifier"):
        await server.load(made.model(name), timeout=CALL)
        asked = {**body(name, rows), "outputs": [{"name": "predict_proba"}]}
        (output,) = (await client.post(f"/v2/models/{name}/infer", json=asked)).json()["outputs"]
        assert output["shape"] == [len(rows), 2]
        wrong = {**asked, "outputs": [{"name": "nope"}]}
        reply = await client.post(f"/v2/models/{name}/infer", json=wrong)
        assert (reply.status_code, "predict_proba" in reply.json()["error"]) == (400, True)
        await server.unload(name, timeout=CALL)


@pytest.mark.parametrize(
    ("word", "file", "content"),
    [
        ("xgboost", "model.json", b"{"),
        ("xgboost", "model.ubj", b"nonsense"),
        ("lightgbm", "model.txt", b"tree\nnonsense"),
        ("catboost", "model.cbm", b"nonsense"),
        ("mlflow", "MLmodel", b"flavors: {}"),
        ("mlflow", "MLmodel", b"{"),
    ],
)
async def test_a_corrupt_file_is_refused_and_nobody_else_notices(
    made: Made,
    server: MlserverServer,
    client: httpx.AsyncClient,
    tmp_path: Path,
    word: str,
    file: str,
    content: bytes,
) -> None:
    good = made.model("lightgbm-txt")
    await server.load(good, timeout=CALL)
    (tmp_path / file).write_bytes(content)
    bad = PreparedModel("bad", 1, tmp_path, requirements=(word,))
    await server.validate(bad)
    with pytest.raises(ModelRejected, match=r"^MLServer refused bad: \S") as raised:
        await server.load(bad, timeout=CALL)
    assert "\n" not in str(raised.value)
    expected = json.loads((made.models / "lightgbm-txt.json").read_text())
    reply = await client.post("/v2/models/lightgbm-txt/infer", json=body("x", expected["rows"]))
    assert reply.status_code == 200


async def test_prediction_errors_are_the_servers_own(
    made: Made, server: MlserverServer, client: httpx.AsyncClient
) -> None:
    for name in ("xgboost-json", "lightgbm-txt", "catboost-classifier"):
        await server.load(made.model(name), timeout=CALL)
        reply = await client.post(f"/v2/models/{name}/infer", json=body(name, [[1.0, 2.0]]))
        assert (reply.status_code, "Error: " in reply.json()["error"]) == (500, True), reply.text


@pytest.mark.parametrize("name", ["xgboost-ubj", "lightgbm-txt", "catboost-regressor"])
async def test_memory_is_given_back_and_threads_do_not_spin(
    made: Made, server: MlserverServer, client: httpx.AsyncClient, name: str
) -> None:
    rows = json.loads((made.models / f"{name}.json").read_text())["rows"] * 50
    process = psutil.Process(server.pid)
    levels = []
    for _ in range(6):
        for number in range(10):
            model = made.model(name)
            await server.load(
                PreparedModel(f"m{number}", 1, model.artifact, model.requirements), timeout=CALL
            )
            await client.post(f"/v2/models/m{number}/infer", json=body(name, rows))
        for number in range(10):
            await server.unload(f"m{number}", timeout=CALL)
        levels.append(mlserver_harness.own_bytes(server.pid))
    assert levels[-1] - levels[2] < 5_000_000, levels
    before = sum(process.cpu_times()[:2])
    await client.get("/v2/health/live")
    assert sum(process.cpu_times()[:2]) - before < 0.05
