"""Where pickles are denied: those of every kind are refused by their content, and a model without code is served."""

from __future__ import annotations

import io
import pickle
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.e2e.away import Away, remote
from tests.e2e.process import oip_error, server_manifest, wait_until
from tests.e2e.steady import Asker
from tests.e2e.zoo import TrainedModel, networks, train
from tests.stores.nginx import Nginx, nginx
from tests.stores.processes import STORES

REFUSED = "pickles are code, and denyPickle refuses them"
_MLFLOW = """
import mlflow, sys
class Twice(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: list[int]) -> list[int]:
        return [2 * each for each in model_input]
mlflow.pyfunc.save_model(sys.argv[1], python_model=Twice(), pip_requirements=["mlflow"])
"""
_OWN_CODE = """
from mlserver import MLModel
class Torch(MLModel):
    pass
"""


@dataclass(frozen=True, slots=True)
class Zoo:
    """``pickles``: the file that gives each folder away, by the folder's name."""

    onnx: TrainedModel
    joblib: TrainedModel
    pickles: dict[str, str]


@pytest.fixture(scope="module")
def zoo(home: Path) -> Zoo:
    folder = home / "zoo"
    [onnx] = networks(folder, 1, smallest=0.2, largest=0.2)
    joblib = train(folder, "joblib", megabytes=0.2, seed=1)
    (folder / "named-onnx").mkdir()
    (folder / "named-onnx" / "model.onnx").write_bytes(pickle.dumps({"weights": [1.0]}))
    (folder / "torch").mkdir()
    (folder / "torch" / "model.pt").write_bytes(as_torch_saves({"weight": [1.0]}))
    (folder / "torch" / "model.py").write_text(_OWN_CODE)
    (folder / "torch" / "model-settings.json").write_text('{"implementation": "model.Torch"}')
    mlflow = folder / "mlflow"
    subprocess.run([STORES / "python", "-c", _MLFLOW, mlflow], check=True, capture_output=True)
    return Zoo(
        onnx,
        joblib,
        {
            "joblib": "model.joblib",
            "named-onnx": "model.onnx",
            "torch": "model.pt",
            "mlflow": "python_model.pkl",
        },
    )


def as_torch_saves(value: object) -> bytes:
    """The layout that torch.save has had since 1.6: a zip with a pickle and its tensors."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("model/data.pkl", pickle.dumps(value, protocol=2))
        archive.writestr("model/version", "3\n")
        archive.writestr("model/data/0", bytes(64))
    return made.getvalue()


@pytest.fixture(scope="module")
def web(home: Path, zoo: Zoo) -> Iterator[Nginx]:
    with nginx(home / "nginx", home / "zoo") as made:
        yield made


def applied(running: Away, web: Nginx, zoo: Zoo, server: str) -> None:
    """All of them, on that Server."""
    done = running.apply(
        *(
            remote(
                replace(zoo.joblib, name=f"{server}-{name}"),
                web.url(f"{name}/"),
                server=server,
                requirements=["mlflow" if name == "mlflow" else "mlserver"],
            )
            for name in zoo.pickles
        ),
        remote(
            replace(zoo.onnx, name=f"{server}-onnx"),
            web.url(f"{zoo.onnx.folder.name}/"),
            server=server,
            requirements=["onnx"],
        ),
        wait=False,
    )
    assert done.code == 0, done.err


def refused(running: Away, zoo: Zoo, server: str) -> None:
    """Each for its file; by whoever is asked."""
    for name, file in zoo.pickles.items():
        said = running.wait_for(f"{server}-{name}", REFUSED)
        assert file in said
        assert "\n" not in said
        assert running.model(f"{server}-{name}")["status"]["final"] is True
        with Asker(running.port, f"{server}-{name}", zoo.joblib.inputs) as asker:
            response = asker.rest()
        assert response.status_code == 503
        assert REFUSED in oip_error(response)
    waited = running.run("wait", "model", f"{server}-onnx", "--timeout", "60s")
    assert waited.code == 0, waited.err
    running.assert_right(replace(zoo.onnx, name=f"{server}-onnx"))


def test_a_server_denies_them_and_another_does_not(home: Path, web: Nginx, zoo: Zoo) -> None:
    free = replace(zoo.joblib, name="free")
    with Away(home / "up") as running:
        servers = [
            server_manifest("200Mi", name="strict", denyPickle=True, extraCapabilities=["mlflow"]),
            server_manifest("200Mi", name="open"),
        ]
        assert running.apply(*servers).code == 0
        done = running.apply(remote(free, web.url("joblib/"), server="open"))
        assert done.code == 0, done.err
        applied(running, web, zoo, "strict")
        refused(running, zoo, "strict")
        running.assert_right(free)
        # Who was served is refused from now on.
        running.arguments = ("--deny-pickle",)
        running.restarted()
        said = running.wait_for("free", REFUSED)
        assert "model.joblib" in said
        with Asker(running.port, "free", free.inputs) as asker:
            wait_until("it is refused", lambda: asker.rest().status_code == 503)
        refused(running, zoo, "strict")
        # And served again, without another word, when the flag is gone.
        running.arguments = ()
        running.restarted()
        running.assert_right(free)
