"""What is brought over HTTP: files with an address each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from overbook.artifacts.sources.protocol import RemoteFile


@dataclass(frozen=True, slots=True)
class WebFile:
    """``file``: as it was listed. ``url``: where its bytes are. ``headers``: to be sent there and, where that leads
    elsewhere, nowhere else; they are in no text that is made of it.

    ``secret``: what people call the secret that the headers were made of, "" for none; errors name it.
    ``validator``: the ETag, or else the Last-Modified, that ``url`` had when it was listed; with another one the file
    has changed. "" where it is not known, or where others vouch for the content.
    """

    file: RemoteFile
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    secret: str = ""
    validator: str = ""
