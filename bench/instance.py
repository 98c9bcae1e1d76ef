"""A real `overbook up` as a child process, and how the benchmarks talk to it. Decides nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import psutil

from bench.errors import BenchFailed
from bench.processes import free_ports, share_priority, tree, wait_until
from overbook.client.control import ControlClient
from overbook.client.errors import ClientError
from overbook.client.http import JsonObject

_START_SECONDS: Final = 180.0
_STOP_SECONDS: Final = 60.0
_ASK_SECONDS: Final = 60.0
_AT_ONCE: Final = 8
_CHUNK: Final = 500
_METRIC: Final = re.compile(
    r'^overbook_activation_seconds_(sum|count)\{phase="(\w+)"\} (\S+)$', re.M
)


class Instance:
    """``port``: the data plane. Use `running`, or `start` and `stop`, which may be repeated."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.api_port = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        self.control = ControlClient(f"http://127.0.0.1:{self.api_port}", timeout=_ASK_SECONDS)
        self._data = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_ASK_SECONDS)

    @property
    def pid(self) -> int:
        if self._process is None:
            raise BenchFailed("overbook up: not started")
        return self._process.pid

    @property
    def models_folder(self) -> Path:
        """Where MLServer looks for the settings of what it is told to load."""
        return self.folder / "state" / "agents" / "mlserver-0" / "models"

    def start(self, *arguments: str) -> None:
        """Begin; see `wait_ready`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("up", "--port", str(self.port), *arguments),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_ready(self) -> None:
        wait_until("overbook up is ready", self._is_ready, seconds=_START_SECONDS, pause=0.05)
        share_priority(process.pid for process in tree(self.pid))

    def stop(self) -> None:
        """As Ctrl-C does."""
        self._data.close()
        self.control.close()
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise BenchFailed("overbook up: did not stop when it was asked to") from None

    def command(self, *arguments: str) -> float:
        """Run a command of the command line against it; the seconds that it took."""
        began = time.perf_counter()
        done = subprocess.run(
            self._command(*arguments),
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode:
            raise BenchFailed(f"overbook {arguments[0]}: {done.stderr.strip()[-300:]}")
        return time.perf_counter() - began

    def apply(self, documents: Sequence[JsonObject]) -> float:
        """Over the control API, some hundreds at a time; the seconds that it took."""
        began = time.perf_counter()
        for start in range(0, len(documents), _CHUNK):
            for applied in self.control.apply(documents[start : start + _CHUNK]).results:
                if applied.error:
                    raise BenchFailed(f"apply of {applied.name}: {applied.error}")
        return time.perf_counter() - began

    def ask(self, model: str, body: JsonObject) -> float:
        """One inference over REST on a kept connection; the milliseconds that it took."""
        return _ask(self._data, model, body)

    def ask_all(self, models: Sequence[str], body: JsonObject) -> None:
        """Every model once, several at a time."""

        def some(share: Sequence[str]) -> None:
            with contextlib.closing(
                http.client.HTTPConnection("127.0.0.1", self.port, timeout=_ASK_SECONDS)
            ) as connection:
                for model in share:
                    _ask(connection, model, body)

        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(some, [models[start::_AT_ONCE] for start in range(_AT_ONCE)]))

    def replica(self) -> JsonObject:
        """The only server replica, as `get servers` shows it."""
        (server,) = self.control.list("server")
        status = server["status"]
        assert isinstance(status, dict)
        replicas = status["replicas"]
        assert isinstance(replicas, list)
        (replica,) = replicas
        assert isinstance(replica, dict)
        return replica

    def address_of(self, server: str, protocol: str) -> str:
        """ "host:port" of the inference server of a Server's first replica."""
        found = self.control.get("server", server)["status"]
        assert isinstance(found, dict)
        replicas = found["replicas"]
        assert isinstance(replicas, list)
        replica = replicas[0]
        assert isinstance(replica, dict)
        return _port_of(replica, protocol)

    def state_of(self, model: str) -> str:
        """Of a model with one replica."""
        status = self.control.get("model", model)["status"]
        assert isinstance(status, dict)
        replicas = status["replicas"]
        assert isinstance(replicas, list)
        (replica,) = replicas
        assert isinstance(replica, dict)
        return str(replica["state"])

    def server_address(self, protocol: str) -> str:
        """ "host:port" of the inference server; ``protocol``: rest or grpc."""
        return _port_of(self.replica(), protocol)

    def server_pid(self) -> int:
        pid = self.replica()["pid"]
        assert isinstance(pid, int)
        return pid

    def resident_models(self) -> int:
        models = self.replica()["models"]
        assert isinstance(models, dict)
        count = models["resident"]
        assert isinstance(count, int)
        return count

    def own_processes(self) -> list[psutil.Process]:
        """Scheduler, gateway, agent and Envoy: everything but the inference server."""
        return tree(self.pid, without=self.server_pid())

    def loads(self) -> tuple[int, float]:
        """How many requests had to wait for a load so far, and the seconds of those loads."""
        connection = http.client.HTTPConnection("127.0.0.1", self.api_port, timeout=_ASK_SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        found = {(kind, phase): float(value) for kind, phase, value in _METRIC.findall(text)}
        return int(found.get(("count", "load"), 0)), found.get(("sum", "load"), 0.0)

    @property
    def _log(self) -> Path:
        return self.folder / "up.log"

    def _command(self, *arguments: str) -> list[str]:
        if arguments[0] == "up":
            arguments = (*arguments, "--api-port", str(self.api_port))
        return [sys.executable, "-m", "overbook", *arguments]

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "OVERBOOK_API_URL": f"http://127.0.0.1:{self.api_port}",
            "OVERBOOK_URL": f"http://127.0.0.1:{self.port}",
            "OVERBOOK_STATE_DIR": str(self.folder / "state"),
        }

    def _is_ready(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise BenchFailed(f"overbook up: ended early: {self._log.read_text()[-500:]}")
        connection = http.client.HTTPConnection("127.0.0.1", self.api_port, timeout=_ASK_SECONDS)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        return False


@contextlib.contextmanager
def running(folder: Path, *arguments: str) -> Iterator[Instance]:
    """Started with these ``arguments`` and ready; stopped at the end of the block."""
    instance = Instance(folder)
    try:
        instance.start(*arguments)
        instance.wait_ready()
        yield instance
    finally:
        instance.stop()


def wait_registered(instance: Instance, models: int) -> None:
    """Until every model is ready to its users: its artifact is there and checked."""

    waiting: list[str] = []

    def all_ready() -> bool:
        try:
            found = instance.control.list("model")
        except ClientError as error:
            raise BenchFailed(f"list of models: {error}") from None
        waiting[:] = [str(each["status"]) for each in found if not is_ready(each)]
        return len(found) == models and not waiting

    what = f"{models} models are ready"
    try:
        wait_until(what, all_ready, seconds=_START_SECONDS, pause=0.5)
    except BenchFailed as error:
        raise BenchFailed(f"{error}; one that is not: {waiting[:1]}") from None


def is_ready(model: JsonObject) -> bool:
    """Whether it is ready to its users."""
    status = model["status"]
    conditions = status["conditions"] if isinstance(status, dict) else None
    if not isinstance(conditions, list):
        return False
    return any(
        isinstance(each, dict) and each["type"] == "ModelReady" and each["status"] == "True"
        for each in conditions
    )


def _ask(connection: http.client.HTTPConnection, model: str, body: JsonObject) -> float:
    payload = json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    began = time.perf_counter()
    connection.request("POST", f"/v2/models/{model}/infer", body=payload, headers=headers)
    reply = connection.getresponse()
    answer = reply.read()
    took = time.perf_counter() - began
    if reply.status != 200:
        raise BenchFailed(f"model {model}: {reply.status} {answer[:200]!r}")
    return took * 1000


def _port_of(replica: JsonObject, protocol: str) -> str:
    """ "host:port". Raises BenchFailed where the server listens at no port: wrk asks nothing else."""
    address = replica["address"]
    assert isinstance(address, dict)
    found = str(address[protocol])
    if found.startswith("unix:"):
        raise BenchFailed(
            f"the inference server listens at {found} alone (docs/adr/0032), where wrk cannot ask it directly; "
            "this case needs a server of its own at a port"
        )
    return found
