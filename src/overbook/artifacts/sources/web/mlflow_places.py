"""Where a tracking server may say that a model's files are. Pure.

It is a server that says so, not a person: an address of HTTP or of a registry goes where a redirect of the server's
might go, which is looked at when it is connected to. Of other addresses those are taken for which a secret, or the
machine's configuration, says who is asked.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote, urlsplit

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.manifests.problems import shown

PROXIED: Final = "mlflow-artifacts"
# Whoever connects looks at how near they are.
_ASKED_BY_ADDRESS: Final = frozenset({"http", "https", "oci"})
# They name a bucket or a repository, and no machine.
_FIXED: Final = frozenset({"s3", "gs", "azureblob", "az", "hf"})
_MOST: Final = 2048


def scheme_at(where: str, server: str) -> str:
    """Of an address that ``server`` gave. Raises SourceError for what is none."""
    if len(where) > _MOST or not where.isprintable():
        raise _bad(where, server)
    try:
        return urlsplit(where).scheme
    except ValueError:
        raise _bad(where, server) from None


def path_at(where: str) -> str:
    """What the tracking server calls the place of ``mlflow-artifacts:/PATH``."""
    return unquote(urlsplit(where).path).strip("/")


def require_same_server(where: str, server: str) -> None:
    """Raises SourceError where ``mlflow-artifacts://HOST/PATH`` names another one than was asked."""
    host = urlsplit(where).netloc
    if host and host != urlsplit(server).netloc:
        raise SourceError(
            Trouble.REFUSED,
            f"{server} says that the files are at another server, {shown(host)}; give that one as tracking_uri",
        )


def require_a_store(where: str, server: str, secret: RemoteSecret | None) -> None:
    """Raises SourceError where another source must not be asked. ``secret``: the one for that source."""
    scheme = scheme_at(where, server)
    if scheme in ("", "file"):
        path = unquote(urlsplit(where).path) if scheme else where
        raise SourceError(
            Trouble.REFUSED,
            f"{server} keeps the files in a folder of its own machine, {shown(path)}; start it with --serve-artifacts "
            "and without a folder as --default-artifact-root, and log the model in a new experiment: one that is "
            "there keeps its folder",
        )
    if scheme in _ASKED_BY_ADDRESS:
        _require_told_to_it(where, server, secret)
        return
    if scheme in _FIXED:
        return
    if secret is not None and scheme == secret.name.lower():
        host = urlsplit(where).hostname
        if scheme != "sftp" or host == secret.parameters.get("host", "").lower():
            return
    raise SourceError(
        Trouble.REFUSED,
        f"{server} says that the files are at {shown(where)}, and no server may choose who is asked by {scheme}; "
        f"name a secret that says it: a remote {scheme}" + (" with its host" * (scheme == "sftp")),
    )


def _require_told_to_it(where: str, server: str, secret: RemoteSecret | None) -> None:
    """A secret goes to no server that another one has chosen. Who uses one that has ``url`` compares it."""
    if secret is not None and not secret.parameters.get("url"):
        raise SourceError(
            Trouble.BAD_SECRET,
            f"{server} says that the files are at {shown(where)}, and secret {secret.secret} does not say that it is "
            "for that server; expected one of type http with its url, or none",
        )


def _bad(where: str, server: str) -> SourceError:
    return SourceError(
        Trouble.BAD_ADDRESS,
        f"{server} says that the files are at {shown(where)}, which is no address",
    )
