"""Certificates for tests: an authority, pairs that it signs, and where they lie."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from overbook.tls.authority import Made, issue, make_authority
from overbook.tls.files import PEER_NAME, TlsFiles

NOW: Final = 1_800_000_000.0
DAY: Final = 86_400.0
HOSTS: Final = ("localhost", "127.0.0.1")


def put(folder: Path, name: str, made: Made) -> tuple[Path, Path]:
    """Certificate and key, as files."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    key.write_bytes(made.key)
    certificate.write_bytes(made.certificate)
    return certificate, key


def server_files(
    folder: Path, authority: Made | None = None, now: float = NOW, *, client_ca: Path | None = None
) -> TlsFiles:
    """A server's pair that is good at ``now``."""
    signer = authority or make_authority("test authority", now)
    made = issue(signer, "server", now, hosts=HOSTS, server=True)
    certificate, key = put(folder, "server", made)
    return TlsFiles(certificate, key, client_ca)


def peer_files(folder: Path, authority: Made | None = None, *, named: str = PEER_NAME) -> TlsFiles:
    """A part's, that is good now; its authority's beside it."""
    now = time.time()
    signer = authority or make_authority("test peers", now)
    ca, _ = put(folder, "peer-ca", signer)
    made = issue(signer, "part", now, hosts=(named,), server=True, client=True)
    return TlsFiles(*put(folder, "peer", made), ca, named=PEER_NAME)
