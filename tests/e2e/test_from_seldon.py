"""A folder of Seldon Core 2's manifests, applied as it is: a Pipeline in it, podSpec, parameters, and replicas: 0."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.process import Overbook, oip_error, wait_until

_MANIFESTS = {
    "servers.yaml": """
apiVersion: mlops.seldon.io/v1alpha1
kind: Server
metadata: {name: mlserver, namespace: seldon-mesh}
spec:
  serverConfig: mlserver
  replicas: 1
  podSpec:
    containers:
      - name: agent
        env:
          - {name: SELDON_OVERCOMMIT_PERCENTAGE, value: "25"}
      - name: mlserver
        resources: {requests: {cpu: "1", memory: 200Mi}}
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Server
metadata: {name: triton, namespace: seldon-mesh}
spec:
  serverConfig: triton
  podSpec:
    containers:
      - name: agent
        env:
          - {name: MEMORY_REQUEST, value: "300000000"}
""",
    "models.yaml": """
apiVersion: mlops.seldon.io/v1alpha1
kind: Model
metadata: {name: told}
spec:
  storageUri: ./told
  requirements: [python]
  server: mlserver
  memory: 1Mi
  parameters:
    - {name: word, value: from the manifest}
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Model
metadata: {name: told-triton}
spec:
  storageUri: ./told-triton
  requirements: [python]
  server: triton
  parameters:
    - {name: word, value: from the manifest}
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Model
metadata: {name: resting}
spec:
  storageUri: ./told
  requirements: [python]
  server: mlserver
  replicas: 0
""",
    "pipeline.yaml": """
apiVersion: mlops.seldon.io/v1alpha1
kind: Pipeline
metadata: {name: join}
spec: {steps: [{name: told}, {name: told-triton}], output: {steps: [told]}}
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Experiment
metadata: {name: ab}
spec: {default: told, candidates: [{name: told, weight: 50}]}
""",
}
_MLSERVER = """
from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceResponse

class Told(MLModel):
    async def load(self):
        return True

    async def predict(self, payload):
        said = [f"{key}={value}" for key, value in sorted(self.settings.parameters.extra.items())]
        return InferenceResponse(
            model_name=self.name, outputs=[StringCodec.encode_output("said", said)]
        )
"""
_TRITON = """
import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        self.said = [f"{key}={each['string_value']}" for key, each in sorted(parameters.items())]

    def execute(self, requests):
        said = np.array([each.encode() for each in self.said], dtype=np.object_)
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("said", said)]) for _ in requests
        ]
"""
_CONFIG = """
name: "of-somebody-else"
backend: "python"
input [{ name: "x" data_type: TYPE_FP64 dims: [-1] }]
output [{ name: "said" data_type: TYPE_STRING dims: [-1] }]
parameters { key: "word" value { string_value: "from the file" } }
parameters { key: "other" value { string_value: "from the file" } }
"""


@pytest.fixture(scope="module")
def folder(home: Path) -> Path:
    made = home / "seldon"
    (made / "told").mkdir(parents=True)
    (made / "told-triton" / "1").mkdir(parents=True)
    for name, text in _MANIFESTS.items():
        (made / name).write_text(text)
    extra = {"word": "from the file", "other": "from the file"}
    settings = {"name": "else", "implementation": "told.Told", "parameters": {"extra": extra}}
    (made / "told" / "model-settings.json").write_text(json.dumps(settings))
    (made / "told" / "told.py").write_text(_MLSERVER)
    (made / "told-triton" / "config.pbtxt").write_text(_CONFIG)
    (made / "told-triton" / "1" / "model.py").write_text(_TRITON)
    return made


@pytest.fixture(scope="module")
def running(home: Path, folder: Path) -> Iterator[Overbook]:
    with Overbook(home / "up") as made:
        valid = made.run("validate", "-f", str(folder))
        assert valid.code == 0, valid.err
        applied = made.run("apply", "-f", str(folder), "--wait", seconds=300)
        assert applied.code == 0, applied.err
        for told in (
            "Pipeline 'join' of mlops.seldon.io/v1alpha1 is skipped",
            "Experiment 'ab' of mlops.seldon.io/v1alpha1 is skipped",
            "spec.podSpec: Overbook takes memory 200MiB (209715200 bytes) and overcommitPercentage 25",
        ):
            assert told in valid.err
            assert told in applied.err
        assert "model/resting is scaled down to 0 replicas" in applied.out
        yield made


def _ask(running: Overbook, model: str) -> httpx.Response:
    tensor = {"name": "x", "datatype": "FP64", "shape": [1], "data": [1.0]}
    return running.data.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]})


def test_the_pod_says_budget_and_overcommit(running: Overbook) -> None:
    budgets = {
        each["metadata"]["name"]: each["status"]["replicas"][0]["bytes"]["budget"]
        for each in running.servers()
    }
    assert budgets == {"mlserver": 200 << 20, "triton": 300_000_000}
    described = running.api.get("/api/v1/servers/mlserver/describe").json()
    assert described["verdict"][0]["limit"] == (200 << 20) * 125 // 100


@pytest.mark.parametrize("model", ["told", "told-triton"])
def test_parameters_reach_the_model(running: Overbook, model: str) -> None:
    for _ in range(2):
        answer = _ask(running, model)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model_name"] == model
        assert answer.json()["outputs"][0]["data"] == [
            "other=from the file",
            "word=from the manifest",
        ]
        assert running.run("evict", model).code == 0


def test_other_parameters_are_another_content(running: Overbook, folder: Path) -> None:
    changed = _MANIFESTS["models.yaml"].replace("from the manifest", "changed")
    (folder / "models.yaml").write_text(changed)
    applied = running.run("apply", "-f", str(folder), "--wait", seconds=300)
    assert applied.code == 0, applied.err
    assert "model/told configured" in applied.out
    for model in ("told", "told-triton"):

        def changed_answer(name: str = model) -> bool:
            return "word=changed" in _ask(running, name).json()["outputs"][0]["data"]

        wait_until("the new parameters answer", changed_answer)


def test_a_model_without_replicas_says_so_until_it_is_scaled_up(running: Overbook) -> None:
    refused = _ask(running, "resting")
    assert refused.status_code == 503
    assert "spec.replicas is 0" in oip_error(refused)
    assert running.model("resting")["status"]["replicas"] == []
    assert running.run("activate", "resting").code == 1
    document = running.model("resting")
    document["spec"]["replicas"] = 1
    assert running.apply(document).code == 0
    assert _ask(running, "resting").status_code == 200
    document["spec"]["replicas"] = 0
    assert running.apply(document).code == 0
    assert _ask(running, "resting").status_code == 503
    wait_until(
        "it has left", lambda: running.model("resting")["status"]["replicas"] == [], seconds=10
    )


def test_the_eviction_policy_can_be_changed_while_models_are_there(running: Overbook) -> None:
    assert _ask(running, "told").status_code == 200
    assert "worth (the default)" in running.run("describe", "server", "mlserver").out
    pid = running.api.get("/api/v1/servers/mlserver").json()["status"]["replicas"][0]["pid"]
    server = {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": "Server",
        "metadata": {"name": "mlserver"},
        "spec": {
            "serverConfig": "mlserver",
            "memory": "200Mi",
            "overcommitPercentage": 25,
            "evictionPolicy": "lru",
        },
    }
    assert running.apply(server).code == 0
    shown = running.run("describe", "server", "mlserver").out
    assert "lru" in next(line for line in shown.splitlines() if line.startswith("evictionPolicy"))
    assert _ask(running, "told").status_code == 200
    after = running.api.get("/api/v1/servers/mlserver").json()["status"]["replicas"][0]["pid"]
    assert after == pid, "nothing was started anew"
