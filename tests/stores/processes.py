"""Starts one server's process on a free port of loopback, waits until it answers, and ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
# The environment that `make` sets up for these servers, beside the one that runs the tests.
STORES: Final = Path(__file__).parents[2] / ".venv-stores" / "bin"
RCLONE: Final = Path(sys.executable).parent / "rclone"
_START_S: Final = 60.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def environment(**more: str) -> dict[str, str]:
    """Ours without what would tell a client of a cloud or rclone who it is, and with this."""
    strange = ("AWS_", "AZURE_", "GOOGLE_", "RCLONE_", "CLOUDSDK_", "STORAGE_EMULATOR_")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    return ours | more


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], port: int, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that listens on ``port``; what it says is in ``log``. It and its children are killed at the end."""
    with log.open("wb") as said:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else environment(),
            start_new_session=True,
        )
    with process:
        try:
            _wait_for(process, port, log)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"a server did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)
