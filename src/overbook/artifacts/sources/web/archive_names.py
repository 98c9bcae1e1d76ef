"""Which names say that a file is an archive. Pure."""

from __future__ import annotations

from typing import Final

_ENDINGS: Final = (".tar", ".tar.gz", ".tgz", ".zip")


def is_archive(name: str) -> bool:
    """Whether a single file of that name is to be unpacked."""
    return name.lower().endswith(_ENDINGS)
