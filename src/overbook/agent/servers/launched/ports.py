"""Free ports that stay ours: chosen once, and guarded for as long as the server may come back to them."""

from __future__ import annotations

import socket


class GuardedPort:
    """A free TCP port that nobody else is given.

    A socket is bound to it and never listens. With SO_REUSEADDR on both, the server can bind and listen
    beside it, while the kernel gives the number to no one who asks for any free port, or connects out.
    """

    def __init__(self, host: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, 0))
        except OSError:
            self._socket.close()
            raise
        self.number: int = self._socket.getsockname()[1]

    @property
    def taken(self) -> bool:
        """Whether somebody listens at it: what the server left behind, or a stranger. It cannot be had back then."""
        with socket.socket(self._socket.family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(self._socket.getsockname())
                trial.listen()
            except OSError:
                return True
        return False

    def close(self) -> None:
        self._socket.close()
