"""Which files of an artifact belong to one version of it, as `artifactVersion` asks for. Pure.

A version is a folder at the top that is named by its number, 3 or 003; what lies beside these folders, such as
settings, is of all versions.
"""

from __future__ import annotations


def belongs(name: str, version: str) -> bool:
    """Whether the file or folder of this name (relative, with slashes) is needed for the ``version`` ("" for all)."""
    top = name.partition("/")[0]
    if not version or not (top.isascii() and top.isdecimal()):
        return True
    return int(top) == int(version)
