"""Options of whatever listens: by which certificate clients know it, and parts each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from overbook.tls.files import PEER_NAME, TlsFiles

_Function = TypeVar("_Function", bound=Callable[..., Any])

# That it is there, and good, is looked at where it is read, in the same words as later.
_FILE: Final = click.Path(dir_okay=False, path_type=Path)


def tls_options(function: _Function) -> _Function:
    """`--tls-cert`, `--tls-key` and `--tls-client-ca`; see `tls_files`."""
    certificate = click.option(
        "--tls-cert",
        type=_FILE,
        metavar="FILE",
        envvar="OVERBOOK_TLS_CERT",
        show_envvar=True,
        help="Speak TLS with the certificate in this PEM file (and those that lead to its authority); followed when it "
        "changes.  [default: plain HTTP]",
    )
    key = click.option(
        "--tls-key",
        type=_FILE,
        metavar="FILE",
        envvar="OVERBOOK_TLS_KEY",
        show_envvar=True,
        help="Its key, in PEM, without a password.",
    )
    clients = click.option(
        "--tls-client-ca",
        type=_FILE,
        metavar="FILE",
        envvar="OVERBOOK_TLS_CLIENT_CA",
        show_envvar=True,
        help="Let in only who shows a certificate of an authority in this PEM file.  [default: anybody]",
    )
    return certificate(key(clients(function)))


def tls_files(given: dict[str, Any]) -> TlsFiles | None:
    """What `tls_options` were given; takes them out. Raises UsageError when one is missing."""
    certificate, key, clients = (given.pop(f"tls_{name}") for name in ("cert", "key", "client_ca"))
    if certificate is None and key is None and clients is None:
        return None
    if certificate is None or key is None:
        raise click.UsageError(
            "--tls-cert and --tls-key belong together, and --tls-client-ca to them; expected both or none; "
            "`overbook tls init` makes some"
        )
    return TlsFiles(
        certificate.absolute(), key.absolute(), None if clients is None else clients.absolute()
    )


def peer_options(function: _Function) -> _Function:
    """`--peer-cert`, `--peer-key` and `--peer-ca`; see `peer_files`."""
    certificate = click.option(
        "--peer-cert",
        type=_FILE,
        metavar="FILE",
        envvar="OVERBOOK_PEER_CERT",
        show_envvar=True,
        help="Show other parts the certificate in this PEM file, and speak to them over TLS; followed when it changes. "
        "Needed where --listen or --scheduler is not on this machine.",
    )
    key = click.option(
        "--peer-key",
        type=_FILE,
        metavar="FILE",
        envvar="OVERBOOK_PEER_KEY",
        show_envvar=True,
        help="Its key, in PEM, without a password.",
    )
    authority = click.option(
        "--peer-ca",
        type=_FILE,
        metavar="FILE",
        envvar="OVERBOOK_PEER_CA",
        show_envvar=True,
        help="The authority in this PEM file makes the certificates of parts, and of nobody else.",
    )
    return certificate(key(authority(function)))


def peer_files(given: dict[str, Any]) -> TlsFiles | None:
    """What `peer_options` were given; takes them out. Raises UsageError when one is missing."""
    certificate, key, authority = (given.pop(f"peer_{name}") for name in ("cert", "key", "ca"))
    if certificate is None and key is None and authority is None:
        return None
    if certificate is None or key is None or authority is None:
        raise click.UsageError(
            "--peer-cert, --peer-key and --peer-ca belong together; expected all three or none; `overbook tls init` "
            "makes some"
        )
    return TlsFiles(certificate.absolute(), key.absolute(), authority.absolute(), named=PEER_NAME)
