"""A model that is deleted and applied again is a new one: nobody who asks for it meets what was there before.

On a real MLServer, whatever the old content was doing when it was deleted: loading, reloading, serving.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.e2e.process import Overbook, model_manifest, server_manifest, wait_until
from tests.e2e.triton_models import Client, Multiplier

_SECONDS = 4.0
_AT_ONCE = 12
_CODE = """
import pathlib
import time

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Slow(MLModel):
    async def load(self):
        pathlib.Path({begun!r}).touch()
        time.sleep({seconds})
        return True

    async def predict(self, payload):
        x = NumpyCodec.decode_input(payload.inputs[0])
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("y", x * {factor})]
        )
"""


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[Overbook]:
    with Overbook(home / "deleted") as made:
        applied = made.apply(server_manifest("60Mi", overcommitPercentage=400))
        assert applied.code == 0, applied.err
        yield made


def content(folder: Path, name: str, factor: float, *, seconds: float = 0.0) -> Multiplier:
    """Loads in so many seconds, and writes `begun` when that begins."""
    home = folder / f"{name}-{factor:.0f}"
    home.mkdir(parents=True)
    settings = {"name": name, "implementation": "model.Slow"}
    (home / "model-settings.json").write_text(json.dumps(settings))
    begun = home.with_suffix(".begun")
    code = _CODE.format(begun=str(begun), seconds=seconds, factor=factor)
    (home / "model.py").write_text(code)
    return Multiplier(name, home, factor)


def begun(model: Multiplier) -> None:
    wait_until("its load begins", model.folder.with_suffix(".begun").exists, pause=0.02)


def apply(running: Overbook, model: Multiplier) -> None:
    """No trial loads it elsewhere. Nothing is waited for but the answer."""
    document = model_manifest(model.name, model.folder, requirements=["python"], verify=False)
    answer = running.api.post("/api/v1/apply", json={"documents": [document]}).raise_for_status()
    assert answer.json()["results"][0]["error"] is None
    assert answer.json()["warnings"] == []


def delete(running: Overbook, model: Multiplier) -> None:
    answer = running.api.delete(f"/api/v1/models/{model.name}").raise_for_status()
    assert answer.json()["warnings"] == []


def answers(running: Overbook, model: Multiplier) -> None:
    """A dozen requests over each protocol, all at once, are answered by it and by no other."""

    def ask(number: int) -> list[float]:
        with Client(running.port) as client:
            asked = client.grpc if number % 2 else client.rest
            return np.ravel(asked(model, 3.0)).tolist()

    with ThreadPoolExecutor(2 * _AT_ONCE) as threads:
        found = list(threads.map(ask, range(2 * _AT_ONCE)))
    assert found == [[3.0 * model.factor, model.factor]] * len(found)


def test_what_was_loading_when_it_was_deleted(running: Overbook, home: Path) -> None:
    old = content(home, "loading", 2.0, seconds=_SECONDS)
    new = content(home, "loading", 5.0)
    apply(running, old)
    with ThreadPoolExecutor(1) as thread, Client(running.port) as client:
        early = thread.submit(client.post, old.name, 3.0)
        begun(old)
        delete(running, old)
        assert early.result().status_code == httpx.codes.NOT_FOUND
    apply(running, new)
    answers(running, new)


def test_what_was_being_reloaded_when_it_was_deleted(running: Overbook, home: Path) -> None:
    """Neither its content that served meanwhile, nor the one that was on its way."""
    served = content(home, "reloading", 2.0)
    update = content(home, "reloading", 3.0, seconds=_SECONDS)
    new = content(home, "reloading", 5.0)
    apply(running, served)
    answers(running, served)
    apply(running, update)
    begun(update)
    answers(running, served)
    delete(running, served)
    apply(running, new)
    answers(running, new)


def test_what_served_when_it_was_deleted(running: Overbook, home: Path) -> None:
    """And again, so that each is the old one once."""
    for factor in range(2, 8):
        model = content(home, "serving", factor)
        apply(running, model)
        answers(running, model)
        delete(running, model)
