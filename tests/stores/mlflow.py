"""A real tracking server of MLflow, with its registry of models, and what is put into it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.stores.processes import HOST, STORES, environment, free_port, running

# Of each wish either a model that answers what it is asked, or a folder of files: logged by a run, and registered.
_LOG: Final = """
import json, pathlib, sys
import mlflow
client = mlflow.MlflowClient()
versions = []
for name, folder in json.loads(sys.argv[2]):
    with mlflow.start_run() as run:
        if not folder:
            code = pathlib.Path(sys.argv[1]) / "echo.py"
            code.write_text(
                "import mlflow\\n"
                "class Echo(mlflow.pyfunc.PythonModel):\\n"
                "    def predict(self, context, model_input: list[int]) -> list[int]:\\n"
                "        return model_input\\n"
                "mlflow.models.set_model(Echo())\\n")
            info = mlflow.pyfunc.log_model(name="model", python_model=str(code), pip_requirements=["mlflow"],
                                           registered_model_name=name)
            versions.append(str(info.registered_model_version))
            continue
        mlflow.log_artifacts(folder, "files")
        try:
            client.create_registered_model(name)
        except mlflow.exceptions.MlflowException:
            pass
        root = run.info.artifact_uri + "/files"
        versions.append(str(client.create_model_version(name, root, run_id=run.info.run_id).version))
print(json.dumps(versions))
"""


@dataclass(frozen=True, slots=True)
class TrackingServer:
    """``env``: what clients and server need besides, as the keys of a store."""

    port: int
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"

    def log(self, *wishes: tuple[str, Path | None]) -> list[str]:
        """Register models by these names, each with the files of a folder, or else as a small one of Python that
        answers what it is asked; their versions.
        """
        told = json.dumps([(name, "" if files is None else str(files)) for name, files in wishes])
        env = environment(MLFLOW_TRACKING_URI=self.address, GIT_PYTHON_REFRESH="quiet", **self.env)
        command = [str(STORES / "python"), "-c", _LOG, str(self.folder), told]
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-2000:])
        # MLflow says where its runs can be looked at, too.
        line = next(line for line in done.stdout.splitlines() if line.startswith("["))
        versions: list[str] = json.loads(line)
        return versions

    def set_alias(self, name: str, alias: str, version: str) -> None:
        told = json.dumps({"name": name, "alias": alias, "version": version}).encode()
        request = urllib.request.Request(
            f"{self.address}/api/2.0/mlflow/registered-models/alias",
            data=told,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request):
            pass


@contextlib.contextmanager
def tracking_server(
    folder: Path, artifact_root: str = "", env: Mapping[str, str] | None = None
) -> Iterator[TrackingServer]:
    """``folder``: for all that it keeps. ``artifact_root``: the store that clients are sent to; without one the server
    gives the files out itself.
    """
    folder.mkdir(exist_ok=True)
    port = free_port()
    where = (
        ["--no-serve-artifacts", "--default-artifact-root", artifact_root]
        if artifact_root
        else ["--serve-artifacts", "--artifacts-destination", str(folder / "artifacts")]
    )
    command: list[str | Path] = [
        *(STORES / "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/store.db", *where),
    ]
    path = f"{STORES}:{Path(sys.executable).parent}:/usr/bin:/bin"
    theirs = environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", PATH=path, **(env or {}))
    with running(command, port, folder / "said.log", theirs):
        yield TrackingServer(port, folder, env or {})
