"""A local object store with models in it, and what rclone alone needs to copy them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from bench.documents import model_document
from bench.errors import BenchFailed
from overbook.client.http import JsonObject
from tests.stores.processes import HOST, RCLONE, environment
from tests.stores.s3 import S3Store, rclone_s3

SECRET: Final = "store"
_BUCKET: Final = "models"
FILE: Final = "model.joblib"
_COPY_SECONDS: Final = 300.0
_CHUNK: Final = 1 << 20
# What each model declares; far more than it takes.
_MEMORY: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Store:
    """``secrets``: a folder for `--secrets`, with the one that leads here; by that in ``counted`` the way leads through
    a proxy, which counts and is slower. ``home``: a folder for what is copied.
    """

    server: S3Store
    secrets: Path
    counted: Path
    home: Path

    def put(self, prefix: str, count: int, size: int) -> list[str]:
        """So many models that can be loaded, each of ``size`` bytes and none like another; the folders of their keys.

        What joblib reads is at the front of each file, and random bytes follow.
        """
        assert self.server.folder is not None
        head = _estimator()
        places = [f"{prefix}/m{number:05}" for number in range(count)]
        for place in places:
            folder = self.server.folder / _BUCKET / place
            folder.mkdir(parents=True)
            with (folder / FILE).open("wb") as file:
                file.write(head)
                left = size - len(head)
                while left:
                    left -= file.write(os.urandom(min(_CHUNK, left)))
        return places

    def read_once(self) -> None:
        """The server knows the hash of every object from now on, as stores do."""
        self._rclone("lsjson", "--recursive", "--hash", f"{SECRET}:{_BUCKET}")

    def bare_copy(self, place: str) -> float:
        """Seconds in which rclone alone copies all below a place, into a new folder and with its own settings."""
        into = self.home / "copied"
        began = time.perf_counter()
        self._rclone("copy", f"{SECRET}:{_BUCKET}/{place}", str(into))
        took = time.perf_counter() - began
        shutil.rmtree(into)
        return took

    def document(self, name: str, place: str, *, verify: bool = True) -> JsonObject:
        """The manifest of a model at this place."""
        more: JsonObject = {"secretName": SECRET, "verify": verify}
        uri = f"s3://{_BUCKET}/{place}"
        return model_document(name, uri, ["sklearn"], memory=_MEMORY, more=more)

    def _rclone(self, *arguments: str) -> None:
        command = [str(RCLONE), "--config", str(self.home / "rclone.conf"), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment(), timeout=_COPY_SECONDS
        )
        if done.returncode:
            raise BenchFailed(f"rclone {arguments[0]}: {done.stderr.strip()[-300:]}")


@contextlib.contextmanager
def store(folder: Path) -> Iterator[Store]:
    """Rclone's own S3 server, asked directly. ``folder``: new."""
    folder.mkdir(parents=True)
    with rclone_s3(folder / "objects", settled=True) as server:
        direct = server.remote(endpoint=f"http://{HOST}:{server.port}")
        lines = "".join(f"{name} = {value}\n" for name, value in direct.items())
        _write(folder / "rclone.conf", f"[{SECRET}]\ntype = s3\n{lines}")
        secrets = _secret(folder / "secrets", direct)
        yield Store(server, secrets, _secret(folder / "counted", server.remote()), folder)


def _secret(folder: Path, parameters: Mapping[str, str]) -> Path:
    _write(
        folder / SECRET, json.dumps({"name": "s3", "type": "s3", "parameters": dict(parameters)})
    )
    return folder


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


def _estimator() -> bytes:
    estimator = LogisticRegression(max_iter=200).fit(*load_iris(return_X_y=True))
    written = io.BytesIO()
    joblib.dump(estimator, written)
    return written.getvalue()
