"""Which files of a folder are meant where one version of it is wanted alone. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.protocol import RemoteFile
from overbook.artifacts.versions import belongs


def of_version(address: str, files: Sequence[RemoteFile], version: str) -> tuple[RemoteFile, ...]:
    """What lies at the top, and all below the folder ``version``; everything where that is "".

    Raises SourceError where nothing is below it. ``address``: for that message.
    """
    if not version:
        return tuple(files)
    found = tuple(each for each in files if belongs(each.name, version))
    if not any("/" in each.name for each in found):
        raise no_such_version(address, version)
    return found


def no_such_version(address: str, version: str) -> SourceError:
    """What is said where the folder of the version is missing or empty."""
    return SourceError(
        Trouble.NOT_FOUND,
        f"{address} has no file in a folder {version}; expected one, as artifactVersion is {version}",
    )
