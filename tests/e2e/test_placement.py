"""MLServer and Triton side by side: each model goes where it can be served, and says why; extras come later."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.by_hand import triton_model
from tests.e2e.process import Overbook, wait_until
from tests.e2e.test_attach import apply, ready, reasons
from tests.e2e.zoo import train

_CODE = """
import mlserver
from mlserver.codecs import StringCodec
from mlserver.types import InferenceResponse


class Hello(mlserver.MLModel):
    async def predict(self, payload):
        outputs = [StringCodec.encode_output("text", ["hello"])]
        return InferenceResponse(model_name=self.name, outputs=outputs)
"""
INPUT = {"name": "x", "shape": [1], "datatype": "INT32", "data": [1]}


def server(name: str) -> dict[str, object]:
    return {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": "Server",
        "metadata": {"name": name},
        "spec": {"serverConfig": name, "memory": "500Mi"},
    }


def manifest(name: str, folder: Path, *requirements: str, verify: bool = True) -> dict[str, object]:
    return {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name},
        "spec": {
            "storageUri": str(folder),
            "requirements": list(requirements),
            "memory": "1M",
            "verify": verify,
        },
    }


def verdict(overbook: Overbook, name: str) -> dict[str, tuple[bool, str]]:
    """By Server: whether it was chosen, and why."""
    found = overbook.api.get(f"/api/v1/models/{name}/describe").json()["verdict"]["replicas"]
    return {each["server"]: (each["chosen"], each["reason"]) for each in found}


def infer(overbook: Overbook, name: str, *inputs: dict[str, Any]) -> list[Any]:
    reply = overbook.data.post(f"/v2/models/{name}/infer", json={"inputs": list(inputs)})
    assert reply.status_code == 200, reply.text
    return list(reply.json()["outputs"][0]["data"])


@pytest.fixture
def both(home: Path) -> Iterator[Overbook]:
    subprocess.run([sys.executable, "-m", "overbook", "runtime", "install", "triton"], check=True)
    path = home / "servers.yaml"
    path.write_text(yaml.safe_dump_all([server("mlserver"), server("triton")]))
    with Overbook(home / "both", "-f", str(path)) as overbook:
        yield overbook


def test_each_goes_where_it_can_be_served(home: Path, both: Overbook) -> None:
    hello, adds = home / "hello", home / "adds"
    hello.mkdir()
    (hello / "hello.py").write_text(_CODE)
    (hello / "model-settings.json").write_text(json.dumps({"implementation": "hello.Hello"}))
    triton_model(adds, 5)
    forest = train(home / "zoo", "forest", megabytes=0.1, seed=1)
    apply(
        both,
        manifest("hello", hello, "python"),
        manifest("adds", adds, "python"),
        manifest("forest", forest.folder, "sklearn"),
    )
    names = ("hello", "adds", "forest")
    wait_until("all are ready", lambda: all(ready(both, name) for name in names))

    assert infer(both, "hello", INPUT) == ["hello"]
    assert infer(both, "adds", INPUT) == [6]
    assert verdict(both, "adds")["triton"][0]
    assert verdict(both, "adds")["mlserver"] == (
        False,
        "the model's code is written for triton; this is mlserver",
    )
    assert verdict(both, "hello")["mlserver"][0]
    assert verdict(both, "forest")["triton"][1].startswith("lacks sklearn; offers ")


def test_an_extra_that_is_installed_meanwhile_is_noticed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERBOOK_RUNTIMES_DIR", str(home / "runtimes"))
    path = home / "server.yaml"
    path.write_text(yaml.safe_dump(server("mlserver")))
    boosted = home / "boosted"
    boosted.mkdir()
    (boosted / "model.txt").write_text("tree")
    with Overbook(home / "later", "-f", str(path)) as overbook:
        # It is no model that could be loaded.
        (answer,) = apply(overbook, manifest("boosted", boosted, "lightgbm", verify=False))
        command = "overbook runtime install mlserver --with lightgbm"
        assert f"no server offers 'lightgbm' (run `{command}`)" in answer["error"]
        subprocess.run([sys.executable, "-m", *command.split()], check=True)
        wait_until("it is placed and its files are accepted", lambda: ready(overbook, "boosted"))
        assert reasons(overbook).count("AgentConnected") == 2
