"""The folder for temporary files of one server and its models: nobody else may enter it, and it goes with the process.

In `/tmp` they would lie beside those of every user, and what a killed process left would stay.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from overbook import socket_folder
from overbook.agent.servers.protocol import ServerStartFailed


def made_temporary(folder: Path) -> dict[str, str]:
    """Variables that lead there. ``folder``: the server's own. What an earlier process left is gone. Blocking.

    Raises ServerStartFailed.
    """
    remove_temporary(folder)
    place = _place(folder)
    try:
        socket_folder.made(place)
    except (OSError, socket_folder.NotOurs) as error:
        raise ServerStartFailed(f"cannot make {place} for temporary files: {error}") from error
    return dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(place))


def remove_temporary(folder: Path) -> None:
    """Blocking."""
    shutil.rmtree(_place(folder), ignore_errors=True)


def _place(folder: Path) -> Path:
    """Short, as sockets are among what Python's own library puts there."""
    return socket_folder.place(folder / "tmp")
