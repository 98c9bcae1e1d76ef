"""Slow requests over both protocols, the parts as processes of their own, and what a stop leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio
import httpx

from overbook.wire import oip_pb2 as oip
from tests.e2e.process import Overbook, free_ports, wait_until

# Seconds in which no request of these tests is answered: the quickest takes longer.
_AT_ONCE = 0.04


def http_answers(url: str, status: int = 200) -> bool:
    """Whether it answers with that status now."""
    try:
        return bool(httpx.get(url, timeout=5).status_code == status)
    except httpx.HTTPError:
        return False


def left_over(mark: str) -> list[str]:
    """Processes whose command line mentions ``mark``, such as a state folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if mark in command:
                    found.append(command)
    return found


def children(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of the direct children."""
    task = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(each) for each in task.read_text().split()]


class Slow:
    """Asks the model `slow` (see test_in_flight), over connections that are kept."""

    def __init__(self, port: int) -> None:
        self._http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60)
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._infer = self._channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=oip.ModelInferRequest.SerializeToString,
            response_deserializer=oip.ModelInferResponse.FromString,
        )

    async def rest(self, seconds: float) -> httpx.Response:
        tensor = {"name": "x", "datatype": "FP64", "shape": [1], "data": [seconds]}
        return await self._http.post("/v2/models/slow/infer", json={"inputs": [tensor]})

    async def grpc(self, seconds: float) -> oip.ModelInferResponse:
        request = oip.ModelInferRequest(model_name="slow")
        tensor = request.inputs.add(name="x", datatype="FP64", shape=[1])
        tensor.contents.fp64_contents.append(seconds)
        answer: oip.ModelInferResponse = await self._infer(request, timeout=60)
        return answer

    async def close(self) -> None:
        await self._http.aclose()
        await self._channel.close()


@contextlib.asynccontextmanager
async def asking_slowly(port: int) -> AsyncIterator[Slow]:
    slow = Slow(port)
    try:
        yield slow
    finally:
        await slow.close()


@dataclass(slots=True)
class Traffic:
    """What a stream of requests came to. ``refused``: it was told so at once, before anything ran that could be cut."""

    answered: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)

    def failed(self, why: str, after: float) -> None:
        """Without a listener the kernel refuses, and resets what Envoy had not accepted when it closed its own."""
        no_connection = "ConnectError" in why or "failed to connect" in why
        if no_connection or (after < _AT_ONCE and "AssertionError" not in why):
            self.refused += 1
        else:
            self.failures.append(f"{why} after {after:.3f} s")


async def keep_asking(port: int, seconds: float, until: asyncio.Event, traffic: Traffic) -> None:
    """Requests of both protocols one after the other, each on kept connections, until told."""
    async with asking_slowly(port) as slow:
        over_grpc = False
        while not until.is_set():
            over_grpc, began = not over_grpc, time.monotonic()
            try:
                if over_grpc:
                    await slow.grpc(seconds)
                else:
                    answer = await slow.rest(seconds)
                    assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
                traffic.answered += 1
            except grpc.aio.AioRpcError as error:
                traffic.failed(f"gRPC {error.code()} {error.details()}", time.monotonic() - began)
            except (AssertionError, httpx.HTTPError) as error:
                traffic.failed(f"REST {error!r}", time.monotonic() - began)
            await asyncio.sleep(0.05 if until.is_set() else 0.005)


class Parts:
    """`overbook serve …`: a scheduler, any number of agents of `mlserver`, one gateway; on free ports."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.port, self.api_port, grpc_port = free_ports(3)
        self.api = f"http://127.0.0.1:{self.api_port}"
        self._target = f"127.0.0.1:{grpc_port}"
        self.processes: dict[str, subprocess.Popen[str]] = {}

    def _start(self, name: str, part: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "overbook", "serve", part, *arguments]
        command += ["--state-dir", str(self.folder / "state")]
        with (self.folder / f"{name}.log").open("a") as log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, text=True)

    def start_scheduler(self) -> None:
        self._start(
            "scheduler", "scheduler", "--api-port", str(self.api_port), "--listen", self._target
        )
        wait_until("the API answers", lambda: http_answers(f"{self.api}/healthz"))

    def start_agent(self, replica: int, *arguments: str) -> None:
        (port,) = free_ports(1)
        self._start(
            f"agent-{replica}",
            "agent",
            *("--server", "mlserver", "--replica", str(replica), "--memory", "100Mi"),
            *("--scheduler", self._target, "--listen", f"127.0.0.1:{port}"),
            *arguments,
        )

    def start_gateway(self, *arguments: str) -> None:
        self._start(
            "gateway", "gateway", "--scheduler", self._target, "--port", str(self.port), *arguments
        )

    def say_stop(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGTERM)

    async def ended(self, name: str, seconds: float = 40.0) -> float:
        """Waits for its end, with exit code 0; the seconds until then."""
        began = time.monotonic()
        code = await asyncio.to_thread(self.processes[name].wait, seconds)
        assert code == 0, self.log(name)
        return time.monotonic() - began

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-4000:]

    def resident_at(self) -> list[int]:
        """Replicas that have the model `slow` in memory."""
        found = httpx.get(f"{self.api}/api/v1/models/slow").json()["status"]["replicas"]
        return [each["replica"] for each in found if each["state"] == "resident"]


@contextlib.contextmanager
def parts(folder: Path) -> Iterator[Parts]:
    running = Parts(folder)
    try:
        yield running
    finally:
        for process in running.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait(30)


async def until_in_flight(running: Overbook, model: str, count: int) -> None:
    """Until so many of its requests are counted in flight."""

    def seen() -> bool:
        replicas = running.model(model)["status"]["replicas"]
        return sum(int(each["inFlight"]) for each in replicas) >= count

    await asyncio.to_thread(wait_until, f"{count} requests are in flight", seen)
