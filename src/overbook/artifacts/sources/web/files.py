"""What is brought over HTTP: files with an address each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from overbook.artifacts.sources.protocol import RemoteFile


@dataclass(frozen=True, slots=True)
class WebFile:
    """``file``: as it was listed. ``url``: where its bytes are. ``headers``: to be sent there and, where that leads
    elsewhere, nowhere else; they are in no text that is made of it.
    """

    file: RemoteFile
    url: str
    headers: Mapping[str, str] = field(repr=False)
