"""Ways to ask an inference server itself, at the Unix sockets that Overbook gives it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import httpx

CALL = 60.0


def path_of(address: str) -> str:
    """Of `unix:/path`."""
    assert address.startswith("unix:"), address
    return address.removeprefix("unix:")


def http_client(address: str) -> httpx.AsyncClient:
    """Asks this address whatever host it is given."""
    transport = httpx.AsyncHTTPTransport(uds=path_of(address))
    return httpx.AsyncClient(base_url="http://localhost", transport=transport, timeout=CALL)


def blocking_client(address: str) -> httpx.Client:
    """As `http_client`."""
    transport = httpx.HTTPTransport(uds=path_of(address))
    return httpx.Client(base_url="http://localhost", transport=transport, timeout=CALL)


async def connected(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection of one's own."""
    return await asyncio.open_unix_connection(path_of(address))


@contextlib.contextmanager
def tcp_door(address: str) -> Iterator[str]:
    """A `host:port` whose connections lead there, for clients that know only TCP. Its threads end with the program."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener, path_of(address)), daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        # Closing it alone would leave the thread waiting.
        listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, path: str) -> None:
    with contextlib.suppress(OSError):
        while True:
            outer, _ = listener.accept()
            threading.Thread(target=_join, args=(outer, path), daemon=True).start()


def _join(outer: socket.socket, path: str) -> None:
    with outer, socket.socket(socket.AF_UNIX) as inner:
        inner.connect(path)
        back = threading.Thread(target=_copy, args=(inner, outer), daemon=True)
        back.start()
        _copy(outer, inner)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
