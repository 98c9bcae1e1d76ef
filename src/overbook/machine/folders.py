"""Where things lie on this machine: state folder, socket folder, and the lock that keeps a second owner out."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import Final

from overbook import socket_folder

# Of Servers' own environments, in the state folder.
ENVIRONMENTS: Final = "environments"


class StateUnusable(Exception):
    """The state folder cannot be used. The message names it and says what to do."""


class StateInUse(StateUnusable):
    """Another Overbook, or another user, owns it."""


def run_dir(state_dir: Path) -> Path:
    """The folder for Unix sockets, made private: `run` in the state folder, or a short one elsewhere."""
    try:
        return socket_folder.made(socket_folder.place(state_dir / "run"))
    except socket_folder.NotOurs as error:
        raise StateInUse(str(error)) from error


def socket_target(folder: Path, name: str) -> str:
    """A gRPC target on a Unix socket. A long name is replaced by its digest."""
    short = name if len(name) <= 16 else hashlib.sha256(name.encode()).hexdigest()[:16]
    path = folder / f"{short}.sock"
    path.unlink(missing_ok=True)
    return f"unix:{path}"


@contextmanager
def owned(state_dir: Path) -> Iterator[None]:
    """Hold the state folder for as long as the block runs. Raises StateUnusable."""
    with ExitStack() as stack:
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((state_dir / "lock").open("a+b", buffering=0))
            _hold(lock, state_dir)
        except OSError as error:
            raise StateUnusable(
                f"state folder {state_dir} cannot be used: {error.strerror or error}; "
                f"put that right, or give another folder with --state-dir"
            ) from error
        yield


def _hold(lock: FileIO, state_dir: Path) -> None:
    """Lock the file and write down who did. Raises StateInUse, OSError."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read().decode().strip() or "unknown"
        raise StateInUse(
            f"state folder {state_dir} is in use by process {owner}; "
            f"stop it, or give another folder with --state-dir"
        ) from None
    lock.seek(0)
    lock.truncate()
    lock.write(str(os.getpid()).encode())
