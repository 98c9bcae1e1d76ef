"""What is said of models is so: ready means loaded once, and an update that fails takes nothing away.

One Overbook with a small MLServer and a small Triton; each story is told of both, over REST and gRPC.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from tests.e2e.process import Overbook, model_manifest, server_manifest, wait_until
from tests.e2e.triton_models import Client, Multiplier, multiplier

_CODE = """
import time

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Times(MLModel):
    async def load(self):
        time.sleep({seconds})
        {trouble}
        return True

    async def predict(self, payload):
        x = NumpyCodec.decode_input(payload.inputs[0])
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("y", x * {factor})]
        )
"""
_RAISE = 'raise ValueError("its weights are bad")'
BAD = "its weights are bad"


def times(
    folder: Path, name: str, factor: float, *, trouble: str = "pass", seconds: float = 0.0
) -> Multiplier:
    """The same as `multiplier`, for MLServer."""
    home = folder / name
    home.mkdir(parents=True)
    settings = {"name": name, "implementation": "model.Times", "parameters": {"version": "v3"}}
    (home / "model-settings.json").write_text(json.dumps(settings))
    code = _CODE.format(factor=factor, trouble=trouble, seconds=seconds)
    (home / "model.py").write_text(code)
    return Multiplier(name, home, factor)


def broken(kind: str, folder: Path, name: str, *, seconds: float = 0.0) -> Multiplier:
    """One that raises when it is loaded, after so many seconds."""
    if kind == "mlserver":
        return times(folder, name, 1.0, trouble=_RAISE, seconds=seconds)
    model = multiplier(folder, name, 1.0)
    path = model.folder / "1" / "model.py"
    path.write_text(
        path.read_text()
        + f"\n    def initialize(self, args):\n        time.sleep({seconds})\n        {_RAISE}\n"
    )
    return model


def sound(kind: str, folder: Path, name: str, factor: float) -> Multiplier:
    return times(folder, name, factor) if kind == "mlserver" else multiplier(folder, name, factor)


def manifest(
    kind: str, model: Multiplier, folder: Path | None = None, **spec: object
) -> dict[str, object]:
    words = ["python"] if kind == "mlserver" else ["triton", "python"]
    return model_manifest(
        model.name, folder or model.folder, server=kind, requirements=words, **spec
    )


ROOM = {"mlserver": "60Mi", "triton": "400Mi"}


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[Overbook]:
    with Overbook(home / "ready") as made:
        applied = made.apply(
            server_manifest(ROOM["mlserver"], overcommitPercentage=400),
            server_manifest(
                ROOM["triton"], name="triton", serverConfig="triton", overcommitPercentage=400
            ),
        )
        assert applied.code == 0, applied.err
        yield made


@pytest.fixture(scope="module")
def client(running: Overbook) -> Iterator[Client]:
    with Client(running.port) as made:
        yield made


@pytest.fixture(scope="module")
def grpc(running: Overbook) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{running.port}") as made:
        yield made


def message(running: Overbook, name: str) -> str:
    [condition] = running.model(name)["status"]["conditions"]
    return f"{condition['status']} {condition['reason']}: {condition['message']}"


def answers(client: Client, model: Multiplier) -> None:
    expected = [3.0 * model.factor, model.factor]
    assert np.ravel(client.rest(model, 3.0)).tolist() == expected
    assert np.ravel(client.grpc(model, 3.0)).tolist() == expected


KINDS = pytest.mark.parametrize("kind", ["mlserver", "triton"])


@KINDS
def test_an_update_that_fails_takes_no_working_model_away(
    running: Overbook, client: Client, home: Path, kind: str
) -> None:
    model = sound(kind, home / "update", f"stable-{kind}", 3.0)
    bad = broken(kind, home / "update", f"broken-{kind}")
    assert running.apply(manifest(kind, model)).code == 0
    answers(client, model)
    # The good files are gone, as they are where an update is written over them.
    folder = home / "update" / f"place-{kind}"
    shutil.copytree(bad.folder, folder)
    shutil.rmtree(model.folder)
    applied = running.apply(manifest(kind, model, folder))
    assert applied.code == 1
    assert BAD in applied.err
    for _ in range(2):
        assert running.run("evict", model.name).code == 0
        answers(client, model)
    # An agent tells of what changed a little later.
    told = wait_until(
        "the status tells of both",
        lambda: (found := message(running, model.name)).endswith("generation 1 serves") and found,
    )
    assert "generation 2 failed" in told
    assert client.get(f"/v2/models/{model.name}/ready").status_code == 200


def test_it_is_still_there_after_a_restart(running: Overbook, client: Client) -> None:
    assert running.stop() == 0
    running.start().wait_ready()
    for kind in ("mlserver", "triton"):
        name = f"stable-{kind}"
        wait_until(
            f"{name} failed", lambda name=name: "generation 1 serves" in message(running, name)
        )
        answers(client, Multiplier(name, Path(), 3.0))
        assert running.run("delete", "model", name).code == 0


@KINDS
def test_a_model_whose_load_raises_is_never_ready(
    running: Overbook,
    client: Client,
    grpc: tritonclient.grpc.InferenceServerClient,
    home: Path,
    kind: str,
) -> None:
    model = broken(kind, home / "never", f"never-{kind}", seconds=2.0)
    applied = running.apply(manifest(kind, model), wait=False)
    assert applied.code == 0, applied.err
    assert client.get(f"/v2/models/{model.name}/ready").status_code in (404, 503)
    waited = running.run("wait", "model", model.name, "--for", "ready", "--timeout", "4s")
    assert waited.code == 1
    again = running.apply(manifest(kind, model))
    assert again.code == 1
    assert BAD in again.err
    ready = client.get(f"/v2/models/{model.name}/ready")
    assert ready.status_code == 503
    assert BAD in ready.json()["error"]
    assert not grpc.is_model_ready(model.name)
    [listed] = [each for each in client.index() if each["name"] == model.name]
    assert (listed["state"], BAD in listed["reason"]) == ("UNAVAILABLE", True)
    [told] = [each for each in grpc.get_model_repository_index().models if each.name == model.name]
    assert told.state == "UNAVAILABLE"
    assert running.run("delete", "model", model.name).code == 0


@KINDS
def test_versions_that_do_not_exist_are_not_ready(
    running: Overbook,
    client: Client,
    grpc: tritonclient.grpc.InferenceServerClient,
    home: Path,
    kind: str,
) -> None:
    model = sound(kind, home / "versions", f"versions-{kind}", 2.0)
    assert running.apply(manifest(kind, model)).code == 0
    version = "v3" if kind == "mlserver" else "1"
    for hot in (False, True):
        if hot:
            answers(client, model)
        assert client.get(f"/v2/models/{model.name}/versions/{version}/ready").status_code == 200
        assert grpc.is_model_ready(model.name, version)
        for path in ("/ready", ""):
            answer = client.get(f"/v2/models/{model.name}/versions/9{path}")
            assert answer.status_code == 404, answer.text
        for call in (grpc.is_model_ready, grpc.get_model_metadata):
            with pytest.raises(InferenceServerException, match="NOT_FOUND"):
                call(model.name, "9")
    assert client.post(model.name, 3.0, f"versions/{version}/infer").status_code == 200
    assert client.post(model.name, 3.0, "versions/9/infer").status_code == 404
    assert running.run("delete", "model", model.name).code == 0


@KINDS
def test_where_there_is_no_room_to_try_it_a_model_may_be_taken_unverified(
    running: Overbook, client: Client, home: Path, kind: str
) -> None:
    full = sound(kind, home / "unverified", f"full-{kind}", 2.0)
    assert running.apply(manifest(kind, full, memory="30Mi")).code == 0
    answers(client, full)
    model = sound(kind, home / "unverified", f"untried-{kind}", 5.0)
    # All that the server has: it is not loaded into room that is free, whatever the other was measured to take.
    document = manifest(kind, model, memory=ROOM[kind], verify=False)
    applied = running.apply(document)
    assert applied.code == 0, applied.err
    assert client.get(f"/v2/models/{model.name}/ready").status_code == 200
    if kind == "triton":  # on MLServer it is weighed all the same, and so it may be verified by now
        assert f"model/{model.name} ready, unverified: spec.verify is false" in applied.out
    for each in (full, model):
        assert running.run("delete", "model", each.name).code == 0


def test_ready_needs_a_server_that_can_serve(
    running: Overbook,
    client: Client,
    grpc: tritonclient.grpc.InferenceServerClient,
    home: Path,
) -> None:
    model = sound("mlserver", home / "alone", "alone", 2.0)
    assert running.apply(manifest("mlserver", model)).code == 0
    assert client.get("/v2/health/ready").status_code == 200
    [server] = [each for each in running.servers() if each["metadata"]["name"] == "mlserver"]
    os.kill(server["status"]["replicas"][0]["pid"], signal.SIGKILL)

    def unready() -> bool:
        answer = client.get("/v2/health/ready")
        return answer.status_code == 503 and "mlserver/0" in answer.json()["cannotServe"]

    wait_until("it is not ready", unready, seconds=10, pause=0.02)
    assert not grpc.is_server_ready()
    assert grpc.is_server_live()
    assert client.get("/v2/health/live").status_code == 200
    wait_until("it is ready again", lambda: client.get("/v2/health/ready").status_code == 200)
    answers(client, model)
    assert running.run("delete", "model", model.name).code == 0
