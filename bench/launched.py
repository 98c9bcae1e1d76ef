"""Inference servers started by hand, as an agent would start them, without an agent."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.errors import BenchFailed
from bench.processes import free_ports, share_priority, wait_until
from overbook.agent.servers.launched.process import ProcessSpec
from overbook.agent.servers.mlserver import server as mlserver
from overbook.agent.servers.protocol import Addresses
from overbook.agent.servers.triton import server as triton
from overbook.runtimes.install import environment

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0
_HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Launched:
    """A server that is live and holds no model. ``folder``: its working folder."""

    pid: int
    addresses: Addresses
    folder: Path


@contextlib.contextmanager
def launched_mlserver(state: Path) -> Iterator[Launched]:
    """Ended with the block. Its load calls go to ``addresses.infer``, with the models' settings."""
    runtime = environment("mlserver")
    config = mlserver.MlserverConfig(runtime.python, runtime.plugin, state, extras=runtime.extras)
    rest, grpc, infer = (f"{_HOST}:{port}" for port in free_ports(3))
    addresses = Addresses(rest, grpc, infer)
    with _running(mlserver._process_spec(config, addresses), addresses) as launched:
        yield launched


@contextlib.contextmanager
def launched_triton(state: Path) -> Iterator[Launched]:
    """Ended with the block. Its model repository is ``models`` in its folder."""
    runtime = environment("triton")
    config = triton.TritonConfig(
        python=runtime.python, plugin=runtime.plugin, state=state, extras=runtime.extras
    )
    rest, grpc, metrics = (f"{_HOST}:{port}" for port in free_ports(3))
    addresses = Addresses(rest, grpc, metrics=metrics)
    with _running(triton._process_spec(config, addresses), addresses) as launched:
        yield launched


@contextlib.contextmanager
def _running(spec: ProcessSpec, addresses: Addresses) -> Iterator[Launched]:
    (spec.folder / "models").mkdir(parents=True)
    with spec.log.open("wb") as log:
        process = subprocess.Popen(
            spec.command,
            env=dict(spec.environment),
            cwd=spec.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    share_priority([process.pid])

    def live() -> bool:
        if process.poll() is not None:
            raise BenchFailed(f"{spec.command[2]}: ended early: {spec.log.read_text()[-300:]}")
        return _live(addresses.rest)

    try:
        wait_until(f"{spec.command[2]} is live", live, seconds=_START_SECONDS, pause=0.1)
        yield Launched(process.pid, addresses, spec.folder)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _live(address: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=_STOP_SECONDS)
    with contextlib.closing(connection), contextlib.suppress(OSError):
        connection.request("GET", "/v2/health/live")
        return connection.getresponse().status == 200
    return False
