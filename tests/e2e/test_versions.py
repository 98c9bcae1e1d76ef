"""Two Servers with different scikit-learns side by side: each model finds the one that can read it, and what nobody can
read is told with versions. Environments are made of packages, of a file and of an archive, with the real uv.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.process import Overbook, model_manifest, server_manifest, wait_until
from tests.integration import triton_harness

pytestmark = pytest.mark.slow
OLDER = "1.6.1"
# To resolve, download what is not in uv's cache, and compile on a busy machine.
BUILD_SECONDS = 300.0

_TRAIN = """
import json, sys
import joblib, numpy as np, sklearn
from sklearn.ensemble import GradientBoostingClassifier
rows = np.random.default_rng(0).random((60, 3))
model = GradientBoostingClassifier(n_estimators=5, random_state=0).fit(rows, rows[:, 0] > 0.5)
joblib.dump(model, sys.argv[1])
print(json.dumps({"version": sklearn.__version__, "answers": model.predict(rows).tolist()}))
"""
_TRITON_CODE = """
import numpy as np
import sklearn
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        said = np.array([sklearn.__version__.encode()], dtype=object)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", said)]) for _ in requests]
"""
_TRITON_CONFIG = """
backend: "python"
input [{ name: "x" data_type: TYPE_FP64 dims: [-1] }]
output [{ name: "y" data_type: TYPE_STRING dims: [-1] }]
"""
ROWS = np.random.default_rng(0).random((60, 3))


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[Overbook]:
    with Overbook(home / "two") as made:
        older = {"packages": [f"scikit-learn=={OLDER}"]}
        applied = made.apply(
            server_manifest("300Mi"),
            server_manifest("300Mi", name="older", environment=older),
            wait=False,
        )
        assert applied.code == 0, applied.err
        ready(made, "older")
        yield made


@pytest.fixture(scope="module")
def saved(running: Overbook, home: Path) -> tuple[Path, list[Any]]:
    """A model that the older version saved, and what it answers there."""
    [root] = (running.folder / "state" / "environments").glob("mlserver-*")
    folder = home / "saved"
    folder.mkdir()
    command = [str(root / "bin" / "python"), "-c", _TRAIN, str(folder / "model.joblib")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["version"] == OLDER
    return folder, told["answers"]


def condition(running: Overbook, server: str) -> dict[str, Any]:
    [found] = [each for each in running.servers() if each["metadata"]["name"] == server]
    conditions: list[dict[str, Any]] = found["status"]["conditions"]
    return conditions[0] if conditions else {"status": "", "message": ""}


def ready(running: Overbook, server: str) -> None:
    wait_until(
        f"server {server} is ready",
        lambda: condition(running, server)["status"] == "True",
        seconds=BUILD_SECONDS,
        pause=0.5,
    )


def answers(running: Overbook, name: str) -> list[Any]:
    tensor = {"name": "x", "shape": [60, 3], "datatype": "FP64", "data": ROWS.ravel().tolist()}
    reply = running.data.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]})
    assert reply.status_code == 200, reply.text
    found: list[Any] = reply.json()["outputs"][0]["data"]
    return found


def test_a_model_finds_the_server_that_reads_it(
    running: Overbook, saved: tuple[Path, list[Any]]
) -> None:
    folder, expected = saved
    wanted = ["sklearn", "scikit-learn==1.6.*"]
    applied = running.apply(model_manifest("churn", folder, requirements=wanted))
    assert applied.code == 0, applied.err
    assert answers(running, "churn") == expected
    assert [each["server"] for each in running.model("churn")["status"]["replicas"]] == ["older"]
    [replica] = running.model("churn")["status"]["replicas"]
    assert replica["warnings"] == []


def test_where_it_cannot_be_read_both_versions_are_named(
    running: Overbook, saved: tuple[Path, list[Any]]
) -> None:
    folder, _ = saved
    applied = running.apply(model_manifest("elsewhere", folder, server="mlserver"))
    assert applied.code == 1
    told = f"saved with scikit-learn {OLDER}, but 1.9.1 is installed here; save it again with that version, or run"
    assert told in running.model("elsewhere")["status"]["conditions"][0]["message"]
    described = running.run("describe", "model", "elsewhere").out
    assert f"mlserver/0: warning: {told}" in described
    assert "ModelWarning" in described
    assert running.run("delete", "model", "elsewhere").code == 0


def test_a_version_that_nobody_has_is_refused_with_those_that_there_are(
    running: Overbook, saved: tuple[Path, list[Any]]
) -> None:
    wanted = ["scikit-learn==1.5.*"]
    applied = running.apply(model_manifest("oldest", saved[0], requirements=wanted), wait=False)
    assert "(there is 1.6.1 on older, 1.9.1 on mlserver)" in applied.out + applied.err
    assert running.run("delete", "model", "oldest").code == 0


def test_an_environment_that_cannot_be_made_says_why_and_is_made_when_it_can(
    running: Overbook, home: Path
) -> None:
    file = home / "requirements.txt"
    file.write_text("scikit-learn==9.9\n")
    own = server_manifest("100Mi", name="filed", environment={"requirements": str(file)})
    assert running.apply(own, wait=False).code == 0

    def message() -> str:
        return str(condition(running, "filed")["message"])

    wait_until("it is said", lambda: "its environment was not made" in message(), seconds=60)
    assert "there is no version of scikit-learn==9.9" in message()
    assert "EnvironmentFailed" in running.run("describe", "server", "filed").out
    file.write_text("scikit-learn==1.7.2\n")
    ready(running, "filed")
    # A change that cannot be made leaves what is there.
    file.write_text("scikit-learn==9.9\n")
    wait_until("it is said", lambda: "it keeps running with what it has" in message(), seconds=60)
    assert condition(running, "filed")["status"] == "True"
    assert running.run("delete", "server", "filed").code == 0


def test_an_archive_is_unpacked(
    running: Overbook, saved: tuple[Path, list[Any]], home: Path
) -> None:
    [root] = (
        path
        for path in (running.folder / "state" / "environments").glob("mlserver-*")
        if list(path.glob("lib/python*/site-packages/scikit_learn-1.6.1.dist-info"))
    )
    packed = home / "env.tar.gz"
    with tarfile.open(packed, "w:gz", compresslevel=1) as archive:
        for part in ("bin", "lib", "pyvenv.cfg"):
            archive.add(root / part, arcname=part)
    own = server_manifest("100Mi", name="packed", environment={"archive": str(packed)})
    assert running.apply(own, wait=False).code == 0
    ready(running, "packed")
    folder, expected = saved
    assert running.apply(model_manifest("unpacked", folder, server="packed")).code == 0
    assert answers(running, "unpacked") == expected
    for kind, name in (("model", "unpacked"), ("server", "packed")):
        assert running.run("delete", kind, name).code == 0


def test_what_agents_use_is_not_removed(running: Overbook) -> None:
    refused = running.run("runtime", "remove", "mlserver")
    assert refused.code == 1
    assert "runtime mlserver is in use by " in refused.err


def test_tritons_python_models_have_the_packages_too(running: Overbook, home: Path) -> None:
    triton_harness.runtime()
    folder = home / "which"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(_TRITON_CONFIG)
    (folder / "1" / "model.py").write_text(_TRITON_CODE)
    own = {"packages": [f"scikit-learn=={OLDER}"]}
    applied = running.apply(
        server_manifest("300Mi", name="triton-older", serverConfig="triton", environment=own),
        wait=False,
    )
    assert applied.code == 0, applied.err
    ready(running, "triton-older")
    wanted = ["python", f"scikit-learn=={OLDER}"]
    assert running.apply(model_manifest("which", folder, requirements=wanted)).code == 0
    tensor = {"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]}
    reply = running.data.post("/v2/models/which/infer", json={"inputs": [tensor]})
    assert reply.json()["outputs"][0]["data"] == [OLDER]
