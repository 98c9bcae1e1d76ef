"""What Python's own servers are given of a pair. Envoy and gRPC have theirs from the PEM itself."""

from __future__ import annotations

import os
import ssl
from typing import Final

from overbook.tls.authority import issue, make_authority
from overbook.tls.pair import Pair

# Of TLS 1.2; all of TLS 1.3 are sensible.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


class ServerContext:
    """For connections that begin from now on: with the first pair, or with the last one that was given to `use`.

    ``context``: to listen with. Whether clients show certificates does not change; by whom they are signed may.
    """

    def __init__(self, pair: Pair, more: bytes = b"") -> None:
        """``more``: one more authority of clients, in PEM, where these are asked."""
        self._more = more
        self._current = _server(pair, more)
        self.context: Final = _server(pair, more)
        # Asked before each handshake, also of clients that name no host.
        self.context.sni_callback = self._choose

    def use(self, pair: Pair) -> None:
        self._current = _server(pair, self._more)

    def _choose(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        connection.context = self._current


class OwnClient:
    """This process as a client of what it serves itself, under whatever address, and whoever has to show a certificate.

    It shows one of an authority that nobody else has (``authority``, PEM), and takes only the certificate that is
    served.
    """

    def __init__(self, now: float) -> None:
        signer = make_authority("Overbook itself", now)
        self.authority: Final = signer.certificate
        self._shown = issue(signer, "Overbook itself", now, client=True)

    def context(self, served: Pair) -> ssl.SSLContext:
        """For connections while this pair is served."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=served.leaf.decode())
        _load(context, self._shown.certificate, self._shown.key)
        return context


def _server(pair: Pair, more: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    if pair.client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=(pair.client_ca + b"\n" + more).decode())
        # Who resumes a session is not asked for a certificate again, and the authority may have changed.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
    _load(context, pair.certificate, pair.key)
    return context


def _load(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """The library reads files only, and those on the disk may be others by now: one in memory."""
    descriptor = os.memfd_create("pair", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(certificate + b"\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
