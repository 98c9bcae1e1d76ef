"""Which files of an artifact are needed for one version of it, as `artifactVersion` asks for. Pure.

A version is one folder at the top: the one of that very name, else the one that is named by the same number, 3 or 003.
It is taken alone, with the files that lie beside it, such as settings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from overbook.artifacts.errors import SourceError, Trouble
from overbook.manifests.problems import shown

# Names in one message.
_NAMED: Final = 5


def is_version(folder: str, version: str) -> bool:
    """Whether the folder of this name may be that of the version."""
    if _is_number(folder) and _is_number(version):
        return int(folder) == int(version)
    return folder == version


def folder_of(version: str, folders: Iterable[str], source: str) -> str:
    """The one of the ``folders`` (at the top, in any order, also more than once) that is meant; "" for none.

    Raises SourceError (REFUSED) where several are the same number and none has the very name. ``source``: what people
    call the artifact.
    """
    there = sorted({each for each in folders if is_version(each, version)})
    if version in there:
        return version
    if len(there) > 1:
        named = ", ".join(shown(each) for each in there[:_NAMED])
        raise SourceError(
            Trouble.REFUSED,
            f"{source}: folders {named} are the same version; expected as artifactVersion the very name of one of them",
        )
    return there[0] if there else ""


def folder_with_files(version: str, files: Collection[str], source: str) -> str:
    """As `folder_of`, by the names of all ``files``: folders without any do not count."""
    return folder_of(version, (each.partition("/")[0] for each in files if "/" in each), source)


def belongs(name: str, folder: str) -> bool:
    """Whether a file of this name (relative, with slashes) is needed for the version that is this ``folder``."""
    top, slash, _ = name.partition("/")
    return not slash or top == folder


def not_among(version: str, folders: Iterable[str]) -> str:
    """What is said of a ``version`` without files. ``folders``: those at the top, in any order, also more than once."""
    others = {each for each in folders if not is_version(each, version)}
    there = sorted(others, key=_numbers_first)
    if not there:
        return f"it has no folder {shown(version)} with files in it, and no other folder; leave artifactVersion out"
    named = ", ".join(shown(each) for each in there[:_NAMED])
    more = f" and {len(there) - _NAMED} more" if len(there) > _NAMED else ""
    return (
        f"it has no folder {shown(version)} with files in it; expected as artifactVersion one of those that there are: "
        f"{named}{more}"
    )


def _numbers_first(folder: str) -> tuple[bool, int, str]:
    """The newest version comes first, and what can be no number last."""
    return (False, -int(folder), folder) if _is_number(folder) else (True, 0, folder)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
