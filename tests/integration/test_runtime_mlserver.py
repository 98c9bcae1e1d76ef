"""What our launcher changes in MLServer, seen from outside. One real server for the whole file."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx
import joblib
import numpy as np
import pytest
import pytest_asyncio
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

from overbook.agent.servers.mlserver.server import MlserverServer
from overbook.agent.servers.mlserver.settings import server_settings
from overbook.agent.servers.protocol import ModelRejected, PreparedModel, Presence, UnloadFailed
from overbook.wire import oip_pb2
from tests.integration import mlserver_harness, own_doors

pytestmark = pytest.mark.asyncio(loop_scope="module")
CALL = 30.0

_PRELUDE = """
import os
import mlserver
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceResponse

HERE = os.path.dirname(os.path.abspath(__file__))

class Text(mlserver.MLModel):
    def said(self):
        return "nothing"

    async def predict(self, payload):
        outputs = [StringCodec.encode_output("text", [str(self.said())])]
        return InferenceResponse(model_name=self.name, outputs=outputs)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps its things."""
    return tmp_path_factory.mktemp("server")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(folder: Path) -> AsyncIterator[MlserverServer]:
    running = mlserver_harness.server(folder)
    await running.start(timeout=60)
    yield running
    await running.close()


@pytest_asyncio.fixture(loop_scope="module")
async def client(server: MlserverServer) -> AsyncIterator[httpx.AsyncClient]:
    async with own_doors.http_client(server.addresses.rest) as made:
        yield made


def custom(folder: Path, name: str, code: str, **files: str | bytes) -> PreparedModel:
    """An artifact with ``model.py`` (class Model) and other files."""
    artifact = folder / name
    artifact.mkdir()
    (artifact / "model.py").write_text(_PRELUDE + textwrap.dedent(code))
    for file, content in files.items():
        path = artifact / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(
            content if isinstance(content, bytes) else textwrap.dedent(content).encode()
        )
    settings = artifact / "model-settings.json"
    if not settings.exists():
        settings.write_text(json.dumps({"implementation": "model.Model"}))
    return PreparedModel(name, 1, artifact)


async def text(client: httpx.AsyncClient, name: str) -> str:
    tensor = {"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}
    reply = await client.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]})
    assert reply.status_code == 200, reply.text
    return str(reply.json()["outputs"][0]["data"][0])


async def test_sklearn_answers_as_in_process(
    server: MlserverServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    x, y = load_iris(return_X_y=True)
    forest = RandomForestClassifier(n_estimators=20, random_state=0).fit(x, y)
    (tmp_path / "1").mkdir()
    joblib.dump(forest, tmp_path / "1" / "model.joblib")
    await server.load(PreparedModel("iris", 1, tmp_path), timeout=CALL)
    tensor = {"name": "x", "shape": list(x.shape), "datatype": "FP64", "data": x.ravel().tolist()}
    other = await client.post("/v2/models/iris/versions/3/infer", json={"inputs": [tensor]})
    assert other.status_code == 404, "it came from a folder 1"
    for path in ("/v2/models/iris/infer", "/v2/models/iris/versions/1/infer"):
        reply = await client.post(path, json={"inputs": [tensor]})
        assert reply.status_code == 200, reply.text
        assert reply.json()["outputs"][0]["data"] == forest.predict(x).tolist()


async def test_modules_of_two_models_stay_apart(
    server: MlserverServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    code = """
    import helpers
    import pack.inner
    from pack import inner as again
    import json

    class Model(Text):
        async def load(self):
            import importlib
            self.dynamic = importlib.import_module("helpers").WHO
            return True

        def said(self):
            import late
            assert again is pack.inner and json.dumps([]) == "[]"
            return " ".join([helpers.WHO, pack.inner.WHO, late.WHO, self.dynamic])
    """
    for who in ("one", "two"):
        line = f'WHO = "{who}"'
        model = custom(
            tmp_path,
            who,
            code,
            **{
                "helpers.py": line,
                "late.py": line,
                "pack/__init__.py": "",
                "pack/inner.py": "import helpers\nfrom . import beside\nWHO = helpers.WHO + beside.WHO",
                "pack/beside.py": line,
            },
        )
        await server.load(model, timeout=CALL)
    assert await text(client, "one") == "one oneone one one"
    assert await text(client, "two") == "two twotwo two two"
    written = {name for _, folders, _ in os.walk(tmp_path) for name in folders}
    assert written == {"one", "two", "pack"}


async def test_pickles_find_the_classes_of_their_own_model(
    server: MlserverServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    code = """
    import joblib
    import pickle

    class Thing:
        who = "{who}"

    class Model(Text):
        async def load(self):
            with open(os.path.join(HERE, "thing.pickle"), "rb") as file:
                data = file.read()
            self.things = [joblib.load(os.path.join(HERE, "thing.pickle")), pickle.loads(data)]
            with open(os.path.join(HERE, "thing.pickle"), "rb") as file:
                self.things.append(pickle.load(file))
            return all(type(thing) is Thing for thing in self.things)

        def said(self):
            return " ".join(thing.who for thing in self.things)
    """
    # What pickle writes for an instance of the class Thing of a module named model.
    pickled = b"\x80\x04\x8c\x05model\x94\x8c\x05Thing\x94\x93\x94)\x81\x94."
    for who in ("three", "four"):
        model = custom(tmp_path, who, code.replace("{who}", who), **{"thing.pickle": pickled})
        await server.load(model, timeout=CALL)
    assert await text(client, "three") == "three three three"
    assert await text(client, "four") == "four four four"


async def test_a_plain_artifact_may_bring_the_code_of_its_estimator(
    server: MlserverServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    artifact = tmp_path / "a"
    artifact.mkdir()
    (artifact / "estimator.py").write_text(
        "class Constant:\n    def predict(self, x):\n        import numpy\n"
        "        return numpy.full(len(x), 7)\n"
    )
    (artifact / "model.pickle").write_bytes(
        b"\x80\x04\x8c\x09estimator\x94\x8c\x08Constant\x94\x93\x94)\x81\x94."
    )
    await server.load(PreparedModel("constant", 1, artifact), timeout=CALL)
    assert await text(client, "constant") == "7"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff not a pickle", "KeyError: 255, while reading model.joblib"),
        (b"", "EOFError, while reading model.joblib"),
    ],
)
async def test_a_corrupt_file_gives_one_line(
    server: MlserverServer, tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "model.joblib").write_bytes(content)
    with pytest.raises(ModelRejected, match=reason) as raised:
        await server.load(PreparedModel("corrupt", 1, tmp_path), timeout=CALL)
    assert "\n" not in str(raised.value)
    assert await server.presence("corrupt", timeout=CALL) is Presence.ABSENT


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("class Other(Text): pass", "no class Model in model"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("class Model(Text):\n  async def load(self): return False", "returned False"),
        ("class Model(Text):\n  async def load(self): os.sys.exit(4)", "SystemExit: 4"),
        ("class Model(Text):\n  def __init__(self, s): raise KeyError('gone')", "KeyError: 'gone'"),
        ("raise ValueError('half a pair: \\ud800')", "ValueError: half a pair: ?"),
        (
            "class E(Exception):\n  def __str__(self): return 1 / 0\nraise E",
            "its text raises as well",
        ),
        ("raise ValueError('long ' * 1000000)", "ValueError: long long"),
    ],
)
async def test_broken_code_is_that_models_problem_alone(
    server: MlserverServer, tmp_path: Path, code: str, reason: str
) -> None:
    with pytest.raises(ModelRejected) as raised:
        await server.load(custom(tmp_path, "broken", code), timeout=CALL)
    assert reason in str(raised.value)
    assert await server.live(timeout=CALL)
    assert "broken" not in await server.index(timeout=CALL)


async def test_loads_run_aside_unless_the_model_wants_the_loop(
    server: MlserverServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    code = """
    import threading

    class Model(Text):
        async def load(self):
            self.thread = threading.current_thread() is threading.main_thread()
            return True

        def said(self):
            return "main" if self.thread else "aside"
    """
    wish = {
        "implementation": "model.Model",
        "parameters": {"extra": {"overbook_load_on_loop": True}},
    }
    await server.load(custom(tmp_path, "aside", code), timeout=CALL)
    on_loop = custom(tmp_path, "onloop", code, **{"model-settings.json": json.dumps(wish)})
    await server.load(on_loop, timeout=CALL)
    assert await text(client, "aside") == "aside"
    assert await text(client, "onloop") == "main"


async def test_an_unload_that_fails_lets_go_all_the_same(
    server: MlserverServer, tmp_path: Path
) -> None:
    code = """
    class Model(Text):
        async def unload(self):
            raise ValueError("I want to stay")
    """
    model = custom(tmp_path, "clingy", code)
    await server.load(model, timeout=CALL)
    with pytest.raises(UnloadFailed, match="ValueError: I want to stay"):
        await server.unload("clingy", timeout=CALL)
    assert await server.presence("clingy", timeout=CALL) is Presence.ABSENT
    await server.load(model, timeout=CALL)


async def test_streams_come_piece_by_piece(
    server: MlserverServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    code = """
    import asyncio

    class Model(Text):
        async def predict_stream(self, payloads):
            async for payload in payloads:
                for word in ("a", "b"):
                    outputs = [StringCodec.encode_output("text", [word])]
                    yield InferenceResponse(model_name=self.name, outputs=outputs)
                    while word == "a" and not os.path.exists(os.path.join(HERE, "go")):
                        await asyncio.sleep(0.005)
    """
    model = custom(tmp_path, "stream", code)
    await server.load(model, timeout=CALL)
    body = {"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}]}
    words: list[str] = []
    headers = {"accept-encoding": "gzip"}
    async with client.stream(
        "POST", "/v2/models/stream/infer_stream", json=body, headers=headers
    ) as reply:
        async for line in reply.aiter_lines():
            if line.startswith("data:"):
                words.append(json.loads(line[5:])["outputs"][0]["data"][0])
                # The second word is only made once the first was seen here.
                (model.artifact / "go").touch()
    assert words == ["a", "b"]


async def test_large_messages_both_ways(server: MlserverServer, tmp_path: Path) -> None:
    code = """
    class Model(Text):
        async def predict(self, payload):
            values = self.decode(payload.inputs[0], default_codec=NumpyCodec)
            outputs = [NumpyCodec.encode_output("y", values)]
            return InferenceResponse(model_name=self.name, outputs=outputs)
    """
    await server.load(custom(tmp_path, "echo", code), timeout=CALL)
    values = np.arange(2 * 1024 * 1024, dtype=np.float64)
    request = oip_pb2.ModelInferRequest(
        model_name="echo",
        inputs=[
            oip_pb2.ModelInferRequest.InferInputTensor(
                name="x", datatype="FP64", shape=[len(values)]
            )
        ],
        raw_input_contents=[values.tobytes()],
    )
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(server.addresses.grpc, options=options) as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=oip_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=oip_pb2.ModelInferResponse.FromString,
        )
        reply = await infer(request, timeout=CALL)
    assert len(reply.raw_output_contents[0]) == values.nbytes == 16 * 1024 * 1024


async def test_a_request_that_raced_with_an_eviction_is_no_traceback(
    server: MlserverServer, client: httpx.AsyncClient, tmp_path_factory: pytest.TempPathFactory
) -> None:
    body = {"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}]}
    reply = await client.post("/v2/models/evicted/infer", json=body)
    assert (reply.status_code, reply.json()) == (404, {"error": "Model evicted not found"})
    log = next(tmp_path_factory.getbasetemp().glob("server*/server.log"))
    assert "Model evicted not found" not in log.read_text()


async def test_a_cycle_of_models_gives_its_memory_back(
    server: MlserverServer, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 8))
    forest = RandomForestClassifier(n_estimators=60, max_features=1).fit(
        x, rng.integers(0, 2, 3000)
    )
    joblib.dump(forest, tmp_path / "model.joblib")
    model = PreparedModel("forest", 1, tmp_path)
    levels = []
    for _ in range(6):
        await server.load(model, timeout=CALL)
        loaded = (await server.memory()).bytes
        await server.unload("forest", timeout=CALL)
        levels.append((loaded, (await server.memory()).bytes))
    size = levels[0][0] - levels[0][1]
    assert size > 5_000_000
    assert levels[-1][1] - levels[1][1] < size / 4


async def test_a_model_that_raises_says_why_and_keeps_the_connection(
    server: MlserverServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    code = """
    class Model(Text):
        def said(self):
            raise ValueError("not today")
    """
    await server.load(custom(tmp_path, "moody", code), timeout=CALL)
    tensor = {"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}
    connections = set()
    for _ in range(3):
        reply = await client.post("/v2/models/moody/infer", json={"inputs": [tensor]})
        assert (reply.status_code, reply.json()) == (500, {"error": "ValueError: not today"})
        connections.add(reply.extensions["network_stream"].get_extra_info("client_addr"))
    assert len(connections) == 1


async def test_a_models_own_packages_are_in_its_folder_or_named(
    server: MlserverServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    code = """
    from tinylib.deep import answer

    class Model(Text):
        def said(self):
            return answer()
    """
    model = custom(tmp_path, "packed", code, **{"requirements.txt": "numpy>=2\ntinylib>=3\n"})
    with pytest.raises(ModelRejected, match=r"asks for tinylib>=3 \(not installed\)"):
        await server.validate(model)
    # As pip install --target leaves it.
    for file, content in {
        "tinylib/__init__.py": "import tinylib.deep",
        "tinylib/deep.py": "from tinylib import words\ndef answer():\n    return words.WORD",
        "tinylib/words.py": "WORD = 'packed'",
        "tinylib-3.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: tinylib\nVersion: 3.1\n",
    }.items():
        (model.artifact / file).parent.mkdir(exist_ok=True)
        (model.artifact / file).write_text(content)
    await server.validate(model)
    await server.load(model, timeout=CALL)
    assert await text(client, "packed") == "packed"


async def test_mlservers_own_load_finds_settings_in_its_folder(
    server: MlserverServer, client: httpx.AsyncClient, tmp_path: Path, folder: Path
) -> None:
    model = custom(tmp_path, "byhand", "class Model(Text): pass")
    own = folder / "models" / "byhand"
    own.mkdir(parents=True)
    (own / "model-settings.json").write_text(json.dumps(server_settings(model)))
    reply = await client.post("/v2/repository/models/byhand/load")
    assert reply.status_code == 200, reply.text
    assert await text(client, "byhand") == "nothing"
    await server.unload("byhand", timeout=CALL)
    assert (await client.get("/v2/models/byhand/ready")).status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 404, "not found"),
        (b"[]", 400, "expected an object"),
        (b"{", 400, "expected an object"),
        (b'{"implementation": 5}', 400, "implementation"),
        (b'{"implementation": "a.B", "max_batch_size": "many"}', 400, "max_batch_size"),
    ],
)
async def test_a_load_without_usable_settings_is_refused(
    server: MlserverServer, body: bytes, status: int, reason: str
) -> None:
    async with own_doors.http_client(server.addresses.infer) as client:
        reply = await client.post("/v2/repository/models/unheard-of/load", content=body)
    assert reply.status_code == status, reply.text
    assert "unheard-of" in reply.json()["error"]
    assert reason in reply.json()["error"]


async def test_settings_that_mlserver_does_not_take_are_named(
    server: MlserverServer, tmp_path: Path
) -> None:
    settings = {"implementation": "model.Model", "max_batch_size": "many"}
    model = custom(
        tmp_path,
        "odd",
        "class Model(Text): pass",
        **{"model-settings.json": json.dumps(settings)},
    )
    with pytest.raises(ModelRejected, match="max_batch_size"):
        await server.load(model, timeout=CALL)
