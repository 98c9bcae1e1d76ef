"""An `overbook up` whose models are elsewhere: its environment, its secrets, and what is seen of its cache."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import httpx
import numpy as np

from overbook.runtimes.install import runtimes_dir
from tests.e2e.process import Overbook, model_manifest, wait_until
from tests.e2e.steady import Asker, same
from tests.e2e.zoo import TrainedModel
from tests.stores.processes import environment

_PREDICT: Final = """
import joblib, json, sys
told = json.load(sys.stdin)
print(json.dumps([joblib.load(path).predict(inputs).tolist() for path, inputs in told]))
"""


class Away(Overbook):
    """``told``: variables of its environment, over those that no cloud has a say in."""

    def __init__(self, folder: Path, *arguments: str, **told: str) -> None:
        super().__init__(folder, *arguments)
        self.told = told

    @property
    def environment(self) -> dict[str, str]:
        # Where nobody has credentials, or a configuration of rclone's; but the runtimes are there that all tests share.
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        runtimes = runtimes_dir()
        nobody = {"HOME": str(home), "OVERBOOK_RUNTIMES_DIR": str(runtimes)}
        return environment(**(super().environment | nobody | self.told))

    @property
    def cache(self) -> Path:
        return self.folder / "state" / "cache"

    def artifacts(self) -> list[Path]:
        """Folders of whole artifacts on the disk."""
        return sorted(each for each in self.cache.iterdir() if len(each.name) == 40)

    def wait_served(self) -> None:
        """Until it can be asked and told: its models need not be ready."""

        def serves() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                if self.api.get("/api/v1/version").status_code == 200:
                    return any(each["state"] == "ready" for each in self.replicas())
            return False

        wait_until("overbook serves", serves)

    def kill(self) -> None:
        """As kill -9 does; its children end as they find out."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def restarted(self, *, kill: bool = False) -> None:
        if kill:
            self.kill()
        else:
            assert self.stop() == 0, self.log()
        self.start().wait_ready()

    def set_secret(self, name: str, kind: str, parameters: Mapping[str, str], scheme: str) -> None:
        done = self.run(
            *("secret", "set", name, "--from", "-"), stdin=secret(scheme, kind, parameters)
        )
        assert done.code == 0, done.err

    def message(self, name: str) -> str:
        """What people are told of a model that is not ready; "" when it is."""
        conditions = self.model(name)["status"]["conditions"]
        return "; ".join(each["message"] for each in conditions if each["status"] != "True")

    def wait_for(self, name: str, text: str, seconds: float = 60.0) -> str:
        """Until that is in what people are told of the model."""
        told = [""]

        def said() -> bool:
            told[0] = self.message(name)
            return text in told[0]

        try:
            wait_until(f"{name} says {text!r}", said, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: it says {told[0]!r}\n{self.log()[-2000:]}") from None
        return told[0]

    def events(self, model: str) -> list[dict[str, Any]]:
        answer = self.api.get("/api/v1/events", params={"model": model}).raise_for_status()
        found: list[dict[str, Any]] = answer.json()["events"]
        return found

    def assert_right(self, *models: TrainedModel) -> None:
        """Each answers as it should, over both protocols."""
        for model in models:
            with Asker(self.port, model.name, model.inputs) as asker:
                for number in (0, 1):
                    answer = asker.answer(number)
                    assert same(answer, model.expected), (model.name, answer, model.expected)


def secret(scheme: str, kind: str, parameters: Mapping[str, str]) -> str:
    """The text of one."""
    return json.dumps({"name": scheme, "type": kind, "parameters": dict(parameters)})


def remote(model: TrainedModel, uri: str, **spec: Any) -> dict[str, Any]:
    """The manifest of a model that is elsewhere."""
    return model_manifest(model.name, uri, **spec)


def predicted_apart(models: Sequence[TrainedModel]) -> None:
    """What these models are expected to answer is what predict() says in a fresh process. Raises AssertionError."""
    told = [(str(each.folder / "model.joblib"), each.inputs.tolist()) for each in models]
    done = subprocess.run(
        [sys.executable, "-c", _PREDICT], input=json.dumps(told), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for model, answer in zip(models, json.loads(done.stdout), strict=True):
        assert np.array_equal(np.asarray(answer), model.expected), model.name


def disk_bytes(folder: Path) -> int:
    """Of models' files below it, whole and coming, as `du` sees them; the index, which has a journal, aside."""
    command = ["du", "-s", "-B1", "--exclude=index.db*", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    # What disappears meanwhile is a complaint of du's, and no bytes.
    return int(done.stdout.split()[0]) if done.stdout else 0


class Disk:
    """Samples what a folder takes on the disk, ten times a second. ``most``: bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="disk")
        self.most = 0
        self.samples: list[int] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.1):
            self.samples.append(disk_bytes(self._folder))
            self.most = max(self.most, self.samples[-1])
