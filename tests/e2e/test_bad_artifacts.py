"""Files that nobody can understand, beside good models under traffic: they fail alone, and nobody else notices."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import yaml

from tests.e2e.process import free_ports, model_manifest, oip_error, server_manifest, wait_until
from tests.e2e.steady import Asker, Steady, same
from tests.e2e.zoo import TrainedModel, train

SETTINGS = {"implementation": "mlserver_sklearn.SKLearnModel"}


@dataclass
class Parts:
    """Scheduler, agent and gateway, each a process."""

    home: Path
    port: int = 0
    api_port: int = 0
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self) -> None:
        self.port, self.api_port, grpc_port, agent_port = free_ports(4)
        scheduler = f"127.0.0.1:{grpc_port}"
        self._start("scheduler", "--api-port", str(self.api_port), "--listen", scheduler)
        wait_until("the API answers", lambda: self.answers(self.api_port, "/healthz"))
        applied = self.run("apply", "-f", "-", stdin=yaml.safe_dump(server_manifest("100Mi")))
        assert applied.returncode == 0, applied.stderr
        self._start(
            "agent",
            *("--server", "mlserver", "--memory", "100Mi", "--scheduler", scheduler),
            *("--listen", f"127.0.0.1:{agent_port}"),
        )
        self._start("gateway", "--scheduler", scheduler, "--port", str(self.port))

    def _start(self, part: str, *arguments: str) -> None:
        state = ("--state-dir", str(self.home / "parts"))
        command = [sys.executable, "-m", "overbook", "serve", part, *state, *arguments]
        with (self.home / f"{part}.log").open("ab") as log:
            self.processes[part] = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(30)

    def answers(self, port: int, path: str) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "overbook", *arguments]
        command += ["--api-url", f"http://127.0.0.1:{self.api_port}"]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=120, check=False
        )

    def get(self, path: str) -> Any:
        url = f"http://127.0.0.1:{self.api_port}/api/v1/{path}"
        return httpx.get(url, timeout=30).raise_for_status().json()

    def server_pid(self) -> int:
        """Of MLServer; 0 when it does not run."""
        [server] = self.get("servers")
        return int(server["status"]["replicas"][0]["pid"] or 0)

    def apply(self, *models: dict[str, Any]) -> None:
        applied = self.run("apply", "-f", "-", stdin=yaml.safe_dump_all(models))
        assert applied.returncode == 0, applied.stderr


@pytest.fixture
def parts(home: Path) -> Iterator[Parts]:
    made = Parts(home)
    try:
        made.start()
        wait_until("MLServer serves", made.server_pid, seconds=90)
        wait_until(
            "the data plane answers",
            lambda: made.answers(made.port, "/v2/health/live"),
        )
        yield made
    finally:
        made.stop()


def settings(uri: str) -> str:
    return json.dumps({**SETTINGS, "parameters": {"uri": uri}})


def bad_files() -> dict[str, tuple[dict[str, str], str]]:
    """By name of the model: files beside a good model.joblib, and what people are told."""
    name = "model-settings.json"
    marker = "numpy ; " + "(" * 5000 + "python_version > '3'" + ")" * 5000
    return {
        "bad-address": ({name: settings("//[x")}, "parameters.uri is '//[x'"),
        "bad-depth": ({name: "[" * 100_000 + "]" * 100_000}, "is nested more than 64 deep"),
        "bad-path": ({name: settings("a" * 5000)}, "File name too long"),
        "bad-marker": (
            {
                name: json.dumps({"implementation": "model.Custom"}),
                "model.py": "class Custom: ...",
                "requirements.txt": marker,
            },
            "its requirements.txt asks for",
        ),
    }


def manifest(model: TrainedModel) -> dict[str, Any]:
    return model_manifest(model.name, model.folder)


def test_bad_files_fail_their_models_alone_and_mended_ones_serve(home: Path, parts: Parts) -> None:
    good = [train(home / "models", f"good-{n}", megabytes=0.2, seed=n) for n in (1, 2)]
    bad = {
        name: train(home / "models", name, megabytes=0.1, seed=n)
        for n, name in enumerate(bad_files(), 3)
    }
    for name, (files, _) in bad_files().items():
        for file, content in files.items():
            (bad[name].folder / file).write_text(content)
    parts.apply(*map(manifest, good))
    waited = parts.run("wait", "model", *(each.name for each in good), "--timeout", "60s")
    assert waited.returncode == 0, waited.stderr
    agent, server = parts.processes["agent"], parts.server_pid()

    with ExitStack() as traffic:
        for model in good:
            traffic.enter_context(Steady(parts.port, model))
        parts.apply(*map(manifest, bad.values()))
        for name, (_, reason) in bad_files().items():
            _check_failed(parts, bad[name], reason)

        for name, (files, _) in bad_files().items():
            for file in files:
                (bad[name].folder / file).unlink()
        shutil.rmtree(bad["bad-path"].folder / "__pycache__", ignore_errors=True)
        parts.apply(*map(manifest, bad.values()))
        waited = parts.run("wait", "model", *bad, "--timeout", "60s")
        assert waited.returncode == 0, waited.stderr
        for model in bad.values():
            with Asker(parts.port, model.name, model.inputs) as asker:
                assert same(asker.answer(0), model.expected)
                assert same(asker.answer(1), model.expected)

    assert agent.poll() is None, "the agent ended"
    assert parts.server_pid() == server, "MLServer was started again"


def _check_failed(parts: Parts, model: TrainedModel, reason: str) -> None:
    """It has failed for good, with its reason, for everybody who asks; and `wait` does not sit out its time."""
    began = time.monotonic()
    waited = parts.run("wait", "model", model.name, "--timeout", "100s")
    assert waited.returncode == 1
    assert reason in waited.stderr
    assert time.monotonic() - began < 50
    found = parts.get(f"models/{model.name}")
    [condition] = found["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "ModelFailed")
    assert model.name in condition["message"]
    assert reason in condition["message"]
    assert found["status"]["final"] is True
    with Asker(parts.port, model.name, model.inputs) as asker:
        response = asker.rest()
        assert response.status_code == 503
        assert reason in oip_error(response)
        with pytest.raises(grpc.RpcError) as raised:
            asker.grpc()
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert reason in str(raised.value.details())
    told = parts.get(f"events?model={model.name}")["events"]
    assert [event["reason"] for event in told].count("ArtifactFailed") == 1
