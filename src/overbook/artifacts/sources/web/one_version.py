"""Which files of a folder are meant where one version of it is wanted alone. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.protocol import RemoteFile
from overbook.artifacts.versions import belongs, folder_with_files, not_among


def of_version(address: str, files: Sequence[RemoteFile], version: str) -> tuple[RemoteFile, ...]:
    """What lies at the top, and all below the folder ``version``; everything where that is "".

    Raises SourceError where nothing is below it, or it could be several. ``address``: for that message.
    """
    if not version:
        return tuple(files)
    folder = folder_with_files(version, [each.name for each in files], address)
    if not folder:
        folders = (each.name.partition("/")[0] for each in files if "/" in each.name)
        raise no_such_version(address, version, folders)
    return tuple(each for each in files if belongs(each.name, folder))


def no_such_version(address: str, version: str, folders: Iterable[str]) -> SourceError:
    """What is said where the folder of the version is missing or empty. ``folders``: those at the top."""
    return SourceError(Trouble.NOT_FOUND, f"{address}: {not_among(version, folders)}")
