"""Which files of an artifact are needed for one version of it, as `artifactVersion` asks for. Pure.

A version is a folder at the top that is named by its number, 3 or 003. It is taken alone, with the files that lie
beside it, such as settings.
"""

from __future__ import annotations


def is_version(folder: str, version: str) -> bool:
    """Whether the folder of this name is that of the version."""
    if _is_number(folder) and _is_number(version):
        return int(folder) == int(version)
    return folder == version


def belongs(name: str, version: str) -> bool:
    """Whether a file of this name (relative, with slashes) is needed for the ``version``; "" needs all."""
    top, slash, _ = name.partition("/")
    return not version or not slash or is_version(top, version)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
