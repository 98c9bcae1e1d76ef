"""Overbook as a child process, started and stopped as a person would, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from overbook.client.control import ControlClient
from overbook.client.errors import ClientError
from overbook.demo.cases import DemoModel

HOST: Final = "127.0.0.1"
START_SECONDS: Final = 120.0
STOP_SECONDS: Final = 30.0
# For its children, once it has ended itself.
LEFTOVER_SECONDS: Final = 3.0
# A loaded model takes a little more than its file.
MEMORY_FACTOR: Final = 1.2
# Without NVIDIA's build, Triton pays a process for each model; what that takes with its framework, in bytes.
PROCESS_BYTES: Final = {"onnx": 38_000_000, "tensorflow": 66_000_000}
BUDGET_SHARE: Final = 0.25
_LAUNCH: Final = "import sys; from overbook.cli.main import main; sys.exit(main())"
_POLL_SECONDS: Final = 0.2


class SystemFailed(Exception):
    """Overbook did not start, or did not stop cleanly. One line, with its own words."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One server: the memory that its models need and the memory that they get, in bytes."""

    needed: int
    budget: int
    overcommit_percent: int


def plan(models: Sequence[DemoModel]) -> dict[str, Plan]:
    """By server: a budget for a quarter of its models, though never below the largest two."""
    sizes: dict[str, list[int]] = {}
    for model in models:
        sizes.setdefault(server_of(model), []).append(memory_of(model))
    return {name: _plan(sorted(sizes[name])) for name in sorted(sizes)}


def _plan(sizes: Sequence[int]) -> Plan:
    needed = sum(sizes)
    budget = max(int(needed * BUDGET_SHARE), sum(sizes[-2:]))
    return Plan(needed, budget, -(-100 * needed // budget))


def server_of(model: DemoModel) -> str:
    """Where it will be placed: what only Triton offers goes there, and what asks for it."""
    return "triton" if {"triton", "tensorflow"} & set(model.requirements) else "mlserver"


def memory_of(model: DemoModel) -> int:
    """What its manifest declares, in bytes."""
    process = PROCESS_BYTES.get(model.framework, 0) if server_of(model) == "triton" else 0
    return process + int(model.bytes * MEMORY_FACTOR)


def manifests(models: Sequence[DemoModel], memory: Mapping[str, Plan]) -> str:
    """The Servers and all the models; YAML, each document in JSON."""
    documents = []
    for name, planned in memory.items():
        server: dict[str, object] = {
            "serverConfig": name,
            "memory": planned.budget,
            "overcommitPercentage": planned.overcommit_percent,
        }
        if name == "mlserver":
            server["extraCapabilities"] = ["lightgbm"]
        documents.append(_document("Server", name, server))
    for model in models:
        spec = {
            "storageUri": str(model.artifact),
            "requirements": list(model.requirements),
            "memory": memory_of(model),
        }
        documents.append(_document("Model", model.name, spec))
    return "---\n".join(json.dumps(document) + "\n" for document in documents)


def _document(kind: str, name: str, spec: dict[str, object]) -> dict[str, object]:
    return {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def free_port(wish: int) -> int:
    """The port wished for, or any free one when it is taken."""
    for port in (wish, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise SystemFailed("no free port on this machine")


class System:
    """A child `overbook up`. `log`: where its words go."""

    def __init__(self, *, state_dir: Path, port: int, api_port: int, log: Path) -> None:
        self.port, self.api_port = port, api_port
        self.log = log
        self._state_dir = state_dir
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def api_url(self) -> str:
        return f"http://{HOST}:{self.api_port}"

    def start(self, manifest: Path) -> None:
        """Spawn it; `wait_ready` says when it serves."""
        command = [sys.executable, "-c", _LAUNCH, "up", "-f", str(manifest)]
        command += ["--state-dir", str(self._state_dir), "--host", HOST]
        command += ["--port", str(self.port), "--api-port", str(self.api_port)]
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C is for the demo, which stops it in order.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self, waiting: Callable[[float], None]) -> None:
        """Until everything given is serving; `waiting` hears the seconds so far. Raises SystemFailed."""
        begun = time.monotonic()
        with ControlClient(self.api_url, timeout=5.0) as client:
            while (elapsed := time.monotonic() - begun) < START_SECONDS:
                self.check()
                try:
                    if client.ready():
                        return
                except ClientError:
                    # Not listening yet.
                    pass
                waiting(elapsed)
                time.sleep(_POLL_SECONDS)
        raise SystemFailed(f"Overbook is not ready after {START_SECONDS:g} s: {self._last_words()}")

    def check(self) -> None:
        """Raises SystemFailed when the process has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise SystemFailed(
                f"Overbook ended with code {self._process.returncode}: {self._last_words()}"
            )

    def stop(self) -> None:
        """Ctrl-C for the child; then nothing of it may be left. Raises SystemFailed when something is."""
        process, self._process = self._process, None
        if process is None:
            return
        family = _family(process.pid)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        _, left = psutil.wait_procs(
            [one for one in family if one.pid != process.pid], timeout=LEFTOVER_SECONDS
        )
        for one in left:
            _kill(one.pid)
        if code is None:
            _kill(process.pid)
            process.wait()
            raise SystemFailed(
                f"Overbook did not stop within {STOP_SECONDS:g} s; killed ({self.log})"
            )
        if left:
            names = ", ".join(str(one.pid) for one in left)
            raise SystemFailed(f"Overbook left processes behind (killed): {names}")
        if code:
            raise SystemFailed(f"Overbook stopped with code {code}: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'it said nothing'} ({self.log})"


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        # It ended in the meantime.
        pass
