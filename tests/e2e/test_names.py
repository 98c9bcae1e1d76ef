"""Models called as OIP and Triton clients call them, on both real servers, and more of them than fit in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from tests.e2e.process import Overbook, model_manifest, server_manifest, wait_until
from tests.e2e.triton_models import multiplier

LONGEST = 253
NAMES = (
    "densenet_onnx",
    "MyModel",
    "mymodel",
    "a.b-c_D.9",
    "9",
    "_a",
    "a.",
    "M" * LONGEST,
)
SERVERS = ("mlserver", "triton")
# Bytes that one of these takes, and how many of them there is room for.
TAKES = {"mlserver": 8_000_000, "triton": 40_000_000}
ROOM = 3
_SETTINGS = {"name": "another", "implementation": "multiply.Multiplier"}
_CODE = """
import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

class Multiplier(MLModel):
    async def load(self):
        self.ballast = np.random.default_rng().random(1_000_000)
        return True

    async def predict(self, payload):
        x = NumpyCodec.decode_input(payload.inputs[0])
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("y", x * {factor})]
        )

    async def predict_stream(self, payloads):
        async for payload in payloads:
            yield await self.predict(payload)
"""


@dataclass(frozen=True, slots=True)
class Model:
    """Named by server and by what is tried; it multiplies by its factor. ``name``: on the wire."""

    server: str
    name: str
    folder: Path
    factor: float


def _models(home: Path) -> Iterator[Model]:
    for number, tried in enumerate(NAMES):
        for server in SERVERS:
            # Both servers together have each name once: the longest ones differ in their last letter.
            name = tried if server == "mlserver" else f"{tried[: LONGEST - 1]}T"
            factor = 2.0 + number + (100.0 if server == "triton" else 0.0)
            folder = home / f"{server}-{number}"
            if server == "triton":
                multiplier(home, folder.name, factor)
                config = folder / "config.pbtxt"
                config.write_text('name: "another"\n' + config.read_text())
            else:
                folder.mkdir()
                (folder / "model-settings.json").write_text(json.dumps(_SETTINGS))
                (folder / "multiply.py").write_text(_CODE.format(factor=factor))
            yield Model(server, name, folder, factor)


@pytest.fixture(scope="module")
def models(home: Path) -> list[Model]:
    return list(_models(home))


@pytest.fixture(scope="module")
def running(home: Path, models: list[Model]) -> Iterator[Overbook]:
    with Overbook(home / "names") as made:
        applied = made.apply(
            *(
                server_manifest(
                    int(TAKES[name] * (ROOM + 0.5)),
                    name=name,
                    serverConfig=name,
                    overcommitPercentage=900,
                )
                for name in SERVERS
            ),
            *(
                model_manifest(
                    each.name,
                    each.folder,
                    requirements=["python"],
                    server=each.server,
                    memory=TAKES[each.server],
                )
                for each in models
            ),
        )
        assert applied.code == 0, applied.err
        yield made


class _Clients:
    """What people have: tritonclient over both protocols, and plain JSON."""

    def __init__(self, running: Overbook) -> None:
        address = f"127.0.0.1:{running.port}"
        self._running = running
        self._rest = tritonclient.http.InferenceServerClient(address)
        self._grpc = tritonclient.grpc.InferenceServerClient(address)

    def __enter__(self) -> _Clients:
        return self

    def __exit__(self, *_: object) -> None:
        self._rest.close()
        self._grpc.close()

    def ask(self, model: Model) -> None:
        wanted = [model.factor, 2 * model.factor]
        for client, kind in (
            (self._rest, tritonclient.http.InferInput),
            (self._grpc, tritonclient.grpc.InferInput),
        ):
            answer = client.infer(model.name, [_tensor(kind)])
            assert answer.as_numpy("y").ravel().tolist() == wanted
        # Envoy's script cannot read the name in it.
        sent = [_tensor(tritonclient.grpc.InferInput)]
        packed = self._grpc.infer(model.name, sent, compression_algorithm="gzip")
        assert packed.as_numpy("y").ravel().tolist() == wanted
        plain = {"name": "x", "datatype": "FP64", "shape": [2], "data": [1.0, 2.0]}
        reply = self._running.data.post(
            f"/v2/models/{model.name}/infer", json={"inputs": [plain]}
        ).raise_for_status()
        assert reply.json()["model_name"] == model.name
        assert reply.json()["outputs"][0]["data"] == wanted
        assert self._grpc.is_model_ready(model.name)
        assert self._rest.get_model_metadata(model.name)["name"] == model.name
        assert self._grpc.get_model_metadata(model.name).name == model.name

    def stream(self, model: Model) -> None:
        got: list[Any] = []
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{self._running.port}") as client:
            client.start_stream(lambda result, error: got.append(error or result))
            client.async_stream_infer(model.name, [_tensor(tritonclient.grpc.InferInput)])
            client.stop_stream()
        assert [each.as_numpy("y").ravel().tolist() for each in got] == [
            [model.factor, 2 * model.factor]
        ]

    def tell(self, model: Model) -> None:
        """What Triton tells of a model by its name, and MLServer does not."""
        assert self._rest.get_model_config(model.name)["name"] == model.name
        assert self._grpc.get_model_config(model.name).config.name == model.name
        (counted,) = self._rest.get_inference_statistics(model.name)["model_stats"]
        assert counted["name"] == model.name
        (counted,) = self._grpc.get_inference_statistics(model.name).model_stats
        assert counted.name == model.name


def _tensor(kind: Any) -> Any:
    tensor = kind("x", [2], "FP64")
    tensor.set_data_from_numpy(np.array([1.0, 2.0]))
    return tensor


def test_all_are_served_with_room_for_a_few(running: Overbook, models: list[Model]) -> None:
    with _Clients(running) as clients:
        for _ in range(3):
            for model in models:
                clients.ask(model)
                clients.ask(model)
                clients.stream(model)
                if model.server == "triton":
                    clients.tell(model)
    assert running.total("evictions") >= len(models)
    index = {each["name"]: each for each in running.data.post("/v2/repository/index").json()}
    assert {model.name for model in models} <= set(index)


def test_people_and_metrics_call_them_the_same(running: Overbook, models: list[Model]) -> None:
    shown = running.run("get", "models").out
    for model in models:
        assert any(line.startswith(f"{model.name} ") for line in shown.splitlines())
        name = model.name
        assert running.run("activate", name).code == 0
        assert running.model(name)["status"]["replicas"][0]["state"] == "resident"
        assert name in running.run("describe", "model", name).out
        assert running.run("evict", name).code == 0
        assert running.model(name)["status"]["replicas"][0]["state"] == "cold"
        tensor = {"name": "x", "datatype": "FP64", "shape": [2], "data": [1.0, 2.0]}
        asked = running.run("infer", name, json.dumps({"inputs": [tensor]}))
        assert asked.code == 0, asked.err
        events = running.run("events", "--model", name).out
        assert "ModelEvicted" in events
    metrics = running.api.get("/metrics").text
    for model in models:
        assert f'overbook_requests_total{{model="{model.name}"' in metrics, model.name


def test_requests_are_counted_by_name(running: Overbook, models: list[Model]) -> None:
    """Envoy's statistics have dots of their own: what is counted is what was asked."""
    with _Clients(running) as clients:
        for model in models:
            clients.ask(model)

    def told() -> bool:
        used = {
            each["metadata"]["name"]: each["status"]["replicas"][0] for each in running.models()
        }
        return all(
            used[model.name]["lastUsed"] and not used[model.name]["inFlight"] for model in models
        )

    wait_until("agents know of every request and its end", told, seconds=10)


def test_other_names_are_other_models(running: Overbook) -> None:
    for name in ("MYMODEL", "a_b-c_D_9", "a", "M" * (LONGEST - 1)):
        assert running.data.post(f"/v2/models/{name}/infer", json={}).status_code == 404
