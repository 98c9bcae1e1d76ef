"""A real `overbook up` as a child process on free ports, with a state folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

START_SECONDS = 120.0
STOP_SECONDS = 30.0


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; all of them at once, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def wait_until(what: str, done: Any, *, seconds: float = 60.0, pause: float = 0.1) -> Any:
    """Poll until ``done()`` is truthy; its value. Fails with ``what`` after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        value = done()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)


@dataclass(frozen=True, slots=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Overbook:
    """Use as a context manager. ``api`` and ``data`` are HTTP clients of ports 9001 and 9000.

    ``ca``: the authority of its certificate, where the arguments have it speak TLS. ``shown``: certificate and key of
    its clients.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        program: Sequence[str] = ("up",),
        ca: Path | None = None,
        shown: tuple[Path, Path] | None = None,
    ) -> None:
        self.folder = folder
        self.port, self.api_port = free_ports(2)
        self.arguments = arguments
        self._program = program
        self.process: subprocess.Popen[str] | None = None
        # What its commands show, once it asks.
        self.token = ""
        self._scheme = "http" if ca is None else "https"
        self.shown = shown
        verify = True if ca is None else _trusting(ca, shown)
        self.api = httpx.Client(base_url=self.api_url, timeout=90, verify=verify)
        self.data = httpx.Client(base_url=self.url, timeout=90, verify=verify)

    @property
    def api_url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.api_port}"

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "OVERBOOK_API_URL": self.api_url,
            "OVERBOOK_URL": self.url,
            "OVERBOOK_STATE_DIR": str(self.folder / "state"),
            "COLUMNS": "100",
            "OVERBOOK_TOKEN": self.token,
            "OVERBOOK_CLIENT_CERT": str(self.shown[0]) if self.shown else "",
            "OVERBOOK_CLIENT_KEY": str(self.shown[1]) if self.shown else "",
        }

    def start(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "up.log").open("a") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "overbook", *self._program),
                    *("--port", str(self.port), "--api-port", str(self.api_port)),
                    *self.arguments,
                ],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        return self

    def wait_ready(self, seconds: float = START_SECONDS) -> Self:
        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, f"overbook ended early:\n{self.log()}"
            with contextlib.suppress(httpx.HTTPError):
                return self.api.get("/readyz").status_code == 200
            return False

        try:
            wait_until("overbook is ready", ready, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None
        return self

    def stop(self) -> int:
        """Ask it to stop as Ctrl-C does; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"overbook did not stop:\n{self.log()}") from None

    def __enter__(self) -> Self:
        return self.start().wait_ready()

    def __exit__(self, *_: object) -> None:
        code = self.stop()
        self.api.close()
        self.data.close()
        assert code == 0, self.log()

    def log(self) -> str:
        return (self.folder / "up.log").read_text()[-6000:]

    # -- what a person would type

    def run(self, *arguments: str, stdin: str | None = None, seconds: float = 120) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "overbook", *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def apply(self, *documents: dict[str, Any], wait: bool = True) -> Result:
        return self.run(
            *("apply", "-f", "-", *(("--wait",) if wait else ())),
            stdin=yaml.safe_dump_all(documents),
            seconds=300,
        )

    # -- what it says of itself

    def model(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"/api/v1/models/{name}").raise_for_status().json()
        return found

    def models(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get("/api/v1/models").raise_for_status().json()
        return found

    def servers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get("/api/v1/servers").raise_for_status().json()
        return found

    def replicas(self) -> list[dict[str, Any]]:
        return [each for server in self.servers() for each in server["status"]["replicas"]]

    def states(self) -> dict[str, str]:
        """State by model name, of models with one replica."""
        return {
            each["metadata"]["name"]: each["status"]["replicas"][0]["state"]
            for each in self.models()
            if each["status"]["replicas"]
        }

    def total(self, field: str) -> int:
        """Sum of a counter such as ``evictions`` over all models and replicas."""
        return sum(
            int(replica[field]) for each in self.models() for replica in each["status"]["replicas"]
        )


def _trusting(ca: Path, shown: tuple[Path, Path] | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    if shown is not None:
        context.load_cert_chain(*shown)
    return context


@contextlib.contextmanager
def overbook(folder: Path, *arguments: str) -> Iterator[Overbook]:
    with Overbook(folder, *arguments) as running:
        yield running


def server_manifest(memory: int | str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": "Server",
        "metadata": {"name": spec.pop("name", "mlserver")},
        "spec": {"serverConfig": "mlserver", "memory": memory, **spec},
    }


def model_manifest(name: str, uri: Path | str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name},
        "spec": {"storageUri": str(uri), "requirements": ["sklearn"], **spec},
    }


def dump(path: Path, *documents: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump_all(documents))
    return path


def oip_error(response: httpx.Response) -> str:
    """The text of an error answer, which must have the protocol's form."""
    body = json.loads(response.text)
    assert isinstance(body["error"], str), response.text
    return str(body["error"])
