"""Where a storageUri leads. Pure."""

from __future__ import annotations

from urllib.parse import unquote

from overbook.artifacts.errors import ArtifactError
from overbook.manifests.problems import shown
from overbook.manifests.specs import has_scheme

_FILE = "file://"


def local_path(storage_uri: str) -> str:
    """The absolute path that it names. Raises ArtifactError for what is not on this machine."""
    if storage_uri.startswith(_FILE):
        path = unquote(storage_uri.removeprefix(_FILE).removeprefix("localhost"))
    elif has_scheme(storage_uri):
        raise ArtifactError(
            f"{shown(storage_uri)}: remote artifacts aren't supported yet; expected a local path"
        )
    else:
        path = storage_uri
    if not path.startswith("/"):
        raise ArtifactError(
            f"{shown(storage_uri)}: a relative path means nothing to a server; expected an absolute one"
        )
    return path
