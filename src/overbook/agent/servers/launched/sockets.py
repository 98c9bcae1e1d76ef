"""The Unix sockets of a server that is started here: in a folder that only this user may enter.

A port of TCP, on loopback too, is open to whoever is on the machine, and these servers load code for everybody who
asks.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from overbook import socket_folder
from overbook.agent.servers.protocol import Addresses, ServerStartFailed

# Both servers put what they are told as a port behind it, whatever it means.
_GRPC: Final = "grpc:1"


class ServerSockets:
    """``state``: of the server; its sockets are in there, where the path is not too long. ``infer``, ``metrics``: see
    `Addresses`; False: it has none.
    """

    def __init__(self, state: Path, *, infer: bool = False, metrics: bool = False) -> None:
        self._folder = socket_folder.place(state / "sockets")
        self.addresses: Final = Addresses(
            rest=self._at("rest"),
            grpc=self._at(_GRPC),
            infer=self._at("infer") if infer else "",
            metrics=self._at("metrics") if metrics else "",
        )

    def _at(self, name: str) -> str:
        return f"unix:{self._folder / name}"

    def prepare(self) -> None:
        """The folder is there, and nothing in it that an earlier server left. Raises ServerStartFailed. Blocking."""
        try:
            for left in socket_folder.made(self._folder).iterdir():
                left.unlink()
        except (OSError, socket_folder.NotOurs) as error:
            raise ServerStartFailed(f"cannot make sockets in {self._folder}: {error}") from error

    def close(self) -> None:
        """Those that are there are for this user alone, whatever the server thinks of them. Blocking."""
        for each in self._folder.iterdir():
            each.chmod(0o600)

    def remove(self) -> None:
        """Blocking, briefly."""
        shutil.rmtree(self._folder, ignore_errors=True)
