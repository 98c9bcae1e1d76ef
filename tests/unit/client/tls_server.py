"""A server with TLS on a free loopback port, and certificates for it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from overbook.tls.authority import Made, issue, make_authority
from tests.unit.tls.certificates import put

ANSWER = b'HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{"version": "tls"}'


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of an authority, and of what it signed."""

    folder: Path
    authority: Made
    ca: Path

    def signed(self, name: str, *, hosts: tuple[str, ...] = (), days: int = 2) -> tuple[Path, Path]:
        """Certificate and key. With hosts a server's, else a client's."""
        now = time.time() if days > 0 else time.time() + (days - 1) * 86_400
        made = issue(
            self.authority,
            name,
            now,
            hosts=hosts,
            server=bool(hosts),
            client=not hosts,
            days=max(1, days),
        )
        return put(self.folder, name, made)


def certificates(folder: Path, name: str = "ca") -> Certificates:
    authority = make_authority("test", time.time())
    ca, _ = put(folder, name, authority)
    return Certificates(folder, authority, ca)


@contextlib.contextmanager
def serving(
    certificate: Path, key: Path, *, clients: Path | None = None, say: bool = True
) -> Iterator[str]:
    """The URL. Answers each connection once. ``say``: why a client is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listener.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), plain:
                    _answer(plain, context, say=say)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _answer(plain: socket.socket, context: ssl.SSLContext, *, say: bool) -> None:
    plain.settimeout(5)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    request = b""
    while b"\r\n\r\n" not in request:
        try:
            request += tls.read(4096)
        except ssl.SSLWantReadError:
            plain.sendall(outgoing.read())
            received = plain.recv(4096)
            if not received:
                return
            incoming.write(received)
        except ssl.SSLError:
            if say:
                plain.sendall(outgoing.read())
                # Until the client has read it: a close with unread data would take it away.
                plain.shutdown(socket.SHUT_WR)
                while plain.recv(4096):
                    pass
            return
    tls.write(ANSWER)
    plain.sendall(outgoing.read())
