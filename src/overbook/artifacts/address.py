"""Where a storageUri leads. Pure."""

from __future__ import annotations

from urllib.parse import unquote

from overbook.artifacts.errors import ArtifactError
from overbook.manifests.problems import shown
from overbook.manifests.specs import has_scheme

_FILE = "file://"


def plain(storage_uri: str) -> str:
    """The one way to write an address: a path where it leads to this machine, else the address itself."""
    if not storage_uri.startswith(_FILE):
        return storage_uri
    return unquote(storage_uri.removeprefix(_FILE).removeprefix("localhost"))


def local_path(storage_uri: str) -> str:
    """The absolute path that it names. Raises ArtifactError for what is not on this machine."""
    path = plain(storage_uri)
    if has_scheme(path):
        raise ArtifactError(
            f"{shown(storage_uri)}: remote artifacts aren't supported yet; expected a local path"
        )
    if not path.startswith("/"):
        raise ArtifactError(
            f"{shown(storage_uri)}: a relative path means nothing to a server; expected an absolute one"
        )
    return path
