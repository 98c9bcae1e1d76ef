"""What Python's own servers are given of a pair. Envoy and gRPC have theirs from the PEM itself."""

from __future__ import annotations

import os
import ssl
from typing import Final

from overbook.tls.pair import Pair

# Of TLS 1.2; all of TLS 1.3 are sensible.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


class ServerContext:
    """For connections that begin from now on: with the first pair, or with the last one that was given to `use`.

    ``context``: to listen with. Whether clients show certificates does not change; by whom they are signed may.
    """

    def __init__(self, pair: Pair) -> None:
        self._current = _of(pair)
        self.context: Final = _of(pair)
        # Asked before each handshake, also of clients that name no host.
        self.context.sni_callback = self._choose

    def use(self, pair: Pair) -> None:
        self._current = _of(pair)

    def _choose(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        connection.context = self._current


def pinned(pair: Pair) -> ssl.SSLContext:
    """For a client in this process that calls on a server with this very certificate, by whatever address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=pair.leaf.decode())
    return context


def _of(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    if pair.client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=pair.client_ca.decode())
        # Who resumes a session is not asked for a certificate again, and the authority may have changed.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
    load(context, pair)
    return context


def load(context: ssl.SSLContext, pair: Pair) -> None:
    """The library reads files only, and those on the disk may be others by now: one in memory."""
    descriptor = os.memfd_create("pair", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(pair.certificate + b"\n" + pair.key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
