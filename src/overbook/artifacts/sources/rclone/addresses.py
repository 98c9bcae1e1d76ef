"""What an address of rclone's says: its scheme, and the place behind it. Pure.

Nothing of an address may be read by rclone as anything but a path: so paths are plain here, or refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from overbook.artifacts.errors import SourceError, Trouble
from overbook.manifests.problems import shown

_ADDRESS: Final = re.compile(r"(?P<scheme>[A-Za-z0-9_][\w+.-]*):(?://)?(?P<place>.*)", re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# What a single object's name ends with where it is to be unpacked.
ARCHIVES: Final = (".tar", ".tar.gz", ".tgz", ".zip")


@dataclass(frozen=True, slots=True)
class Address:
    """``uri``: as people wrote it. ``place``: without slashes at its end."""

    uri: str
    scheme: str
    place: str


def parsed(uri: str) -> Address:
    """Raises SourceError for what no store can have, or what would lead out of the place."""
    found = _ADDRESS.fullmatch(uri)
    if found is None:
        raise bad_address(uri, "it has no scheme; expected one such as s3://BUCKET/PATH")
    place = found["place"].rstrip("/")
    if _CONTROL.search(place):
        raise bad_address(uri, "it has a control character; expected a plain path")
    steps = place.lstrip("/").split("/")
    if place and any(step in {"", ".", ".."} for step in steps):
        raise bad_address(uri, "its path has an empty, a `.` or a `..` step; expected a plain path")
    return Address(uri, found["scheme"], place)


def bad_address(uri: str, why: str) -> SourceError:
    return SourceError(Trouble.BAD_ADDRESS, f"{shown(uri)}: {why}")
