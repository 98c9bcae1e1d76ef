"""Stops drain: what runs is answered within the grace, by `up` and by each part alone; a second signal ends at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import psutil
import pytest

from overbook.client.control import ControlClient
from overbook.wire import oip_pb2
from tests.e2e.process import Overbook, free_ports, model_manifest, server_manifest, wait_until
from tests.e2e.test_in_flight import slow_model

RUNS = 2.5
# What a stop takes besides.
ENDS = 8.0


def rest(port: int, seconds: float) -> str:
    """ "ok", or what went wrong."""
    tensor = {"name": "x", "datatype": "FP64", "shape": [1], "data": [seconds]}
    try:
        answer = httpx.post(
            f"http://127.0.0.1:{port}/v2/models/slow/infer", json={"inputs": [tensor]}, timeout=60
        )
    except httpx.HTTPError as error:
        return repr(error)
    return "ok" if answer.status_code == 200 else f"{answer.status_code} {answer.text}"


def unary(port: int, seconds: float) -> str:
    message = oip_pb2.ModelInferRequest(model_name="slow")
    message.inputs.add(name="x", datatype="FP64", shape=[1]).contents.fp64_contents.append(seconds)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[
            oip_pb2.ModelInferRequest, oip_pb2.ModelInferResponse
        ] = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=oip_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=oip_pb2.ModelInferResponse.FromString,
        )
        try:
            call(message, timeout=60)
        except grpc.RpcError as error:
            return repr(error)
    return "ok"


@contextlib.contextmanager
def in_flight(port: int, seconds: float, running: Callable[[], int]) -> Iterator[list[Future[str]]]:
    """Requests over both protocols that have reached their model. ``running``: how many have."""
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(ask, port, seconds) for ask in (rest, unary) for _ in range(3)]
        wait_until("they are in flight", lambda: running() == len(asked), pause=0.02)
        yield asked


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    return slow_model(tmp_path / "slow")


@contextlib.contextmanager
def serving(home: Path, slow: Path, *arguments: str) -> Iterator[Overbook]:
    made = Overbook(home, *arguments).start()
    assert made.process is not None
    try:
        made.wait_ready()
        applied = made.apply(
            server_manifest("200Mi"),
            model_manifest("slow", slow, requirements=["python", "mlserver"]),
        )
        assert applied.code == 0, applied.err
        assert rest(made.port, 0.0) == unary(made.port, 0.0) == "ok"
        yield made
    finally:
        if made.process.poll() is None:
            made.process.terminate()
            made.process.terminate()
            made.process.wait(ENDS)
        made.api.close()
        made.data.close()


def reached(running: Overbook) -> Callable[[], int]:
    """How many requests are at the model, as its agent knows."""
    return lambda: int(running.model("slow")["status"]["replicas"][0]["inFlight"])


def test_up_answers_what_runs_and_is_not_ready_meanwhile(home: Path, slow: Path) -> None:
    with serving(home / "drains", slow) as running:
        process = running.process
        assert process is not None
        kept = running.data
        assert kept.get("/v2/health/ready").status_code == 200
        with in_flight(running.port, RUNS, reached(running)) as asked:
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            wait_until("it is not ready", lambda: running.api.get("/readyz").status_code == 503)
            assert "stopping" in running.api.get("/readyz").text
            assert time.monotonic() - began < 1.0
            ready = kept.get("/v2/health/ready")
            assert (ready.status_code, ready.json()["cannotServe"]) == (
                503,
                {"gateway": "it is stopping"},
            )
            assert "ConnectError" in rest(running.port, 0.0)
            assert process.poll() is None
            assert [each.result() for each in asked] == ["ok"] * len(asked)
        assert process.wait(ENDS) == 0
    assert "6 requests are still being answered, for at most 30 s" in running.log()


def test_nothing_is_waited_for_when_nothing_runs(home: Path, slow: Path) -> None:
    with serving(home / "idle", slow) as running:
        assert running.process is not None
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(ENDS) == 0
    assert "still being answered" not in running.log()


def test_a_second_signal_ends_at_once_and_leaves_nothing_behind(home: Path, slow: Path) -> None:
    with serving(home / "twice", slow) as running:
        process = running.process
        assert process is not None
        below = psutil.Process(process.pid).children(recursive=True)
        assert len(below) >= 2  # Envoy and MLServer at least
        with in_flight(running.port, 20.0, reached(running)) as asked:
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert process.wait(5) == 128 + signal.SIGTERM
            assert time.monotonic() - began < 1.0
            assert "ok" not in [each.result() for each in asked]
        _, alive = psutil.wait_procs(below, timeout=3)
        assert alive == []


def test_what_takes_longer_than_the_grace_is_cut_off(home: Path, slow: Path) -> None:
    with serving(home / "grace", slow, "--grace", "1s") as running:
        assert running.process is not None
        with in_flight(running.port, 30.0, reached(running)) as asked:
            running.process.send_signal(signal.SIGINT)
            assert running.process.wait(1.0 + ENDS) == 0
            assert "ok" not in [each.result() for each in asked]


# -- the parts alone


@dataclass(slots=True)
class Parts:
    """Each part as a process of its own."""

    home: Path
    port: int
    api_port: int
    targets: tuple[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, part: str) -> None:
        scheduler, agent = self.targets
        arguments = {
            "scheduler": ["--api-port", str(self.api_port), "--listen", scheduler],
            "agent": ["--memory", "200Mi", "--scheduler", scheduler, "--listen", agent],
            "gateway": ["--port", str(self.port), "--scheduler", scheduler],
        }[part]
        command = [sys.executable, "-m", "overbook", "serve", part, *arguments]
        with (self.home / f"{part}.log").open("ab") as log:
            self.processes[part] = subprocess.Popen(
                [*command, "--state-dir", str(self.home / "state")], stdout=log, stderr=log
            )

    def stop(self, part: str) -> float:
        """As asked; the seconds that it took."""
        began = time.monotonic()
        self.processes[part].send_signal(signal.SIGTERM)
        assert self.processes[part].wait(30) == 0
        return time.monotonic() - began


@pytest.fixture
def parts(home: Path, slow: Path) -> Iterator[Parts]:
    port, api_port, grpc_port, agent_port = free_ports(4)
    folder = home / f"parts-{port}"
    folder.mkdir()
    targets = f"127.0.0.1:{grpc_port}", f"127.0.0.1:{agent_port}"
    made = Parts(folder, port, api_port, targets)
    try:
        for part in ("scheduler", "agent", "gateway"):
            made.start(part)
        with ControlClient(f"http://127.0.0.1:{api_port}") as client:
            wait_until("the API answers", lambda: _applied(client, slow), seconds=60)
        wait_until("it serves", lambda: rest(port, 0.0) == "ok", seconds=90)
        yield made
    finally:
        for process in made.processes.values():
            if process.poll() is None:
                os.kill(process.pid, signal.SIGTERM)
        for process in made.processes.values():
            process.wait(30)


def _applied(client: ControlClient, slow: Path) -> bool:
    with contextlib.suppress(Exception):
        documents = [
            server_manifest("200Mi"),
            model_manifest("slow", slow, requirements=["python", "mlserver"]),
        ]
        return not [each for each in client.apply(documents).results if each.error]
    return False


def test_an_agent_answers_what_runs_and_who_comes_meanwhile_waits_for_the_next(
    parts: Parts,
) -> None:
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(ask, parts.port, RUNS) for ask in (rest, unary) for _ in range(2)]
        time.sleep(1.0)
        parts.processes["agent"].send_signal(signal.SIGTERM)
        time.sleep(0.3)
        later = [threads.submit(ask, parts.port, 0.0) for ask in (rest, unary)]
        assert [each.result() for each in asked] == ["ok"] * len(asked)
        assert parts.processes["agent"].wait(ENDS) == 0
        parts.start("agent")
        assert [each.result() for each in later] == ["ok"] * len(later)


def test_a_gateway_answers_what_runs(parts: Parts) -> None:
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(ask, parts.port, RUNS) for ask in (rest, unary) for _ in range(2)]
        time.sleep(1.0)
        parts.processes["gateway"].send_signal(signal.SIGTERM)
        assert [each.result() for each in asked] == ["ok"] * len(asked)
        assert parts.processes["gateway"].wait(ENDS) == 0
        parts.start("gateway")
        wait_until("it serves again", lambda: rest(parts.port, 0.0) == "ok", seconds=30)


def test_a_scheduler_that_stops_disturbs_nobody(parts: Parts) -> None:
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(ask, parts.port, RUNS) for ask in (rest, unary)]
        time.sleep(0.5)
        assert parts.stop("scheduler") < ENDS
        assert [each.result() for each in asked] == ["ok"] * len(asked)
        parts.start("scheduler")
