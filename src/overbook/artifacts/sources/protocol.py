"""What every source looks like from outside: it lists what is at an address, and brings what it listed.

A listing is what a source says before any byte is copied. Names in it are not to be trusted before `names` has looked
at them, nor sizes before the bytes are here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from overbook.artifacts.secrets.remote import RemoteSecret

_DIGEST_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Wanted:
    """One artifact: its address, and of it the folder of one version alone ("" for everything)."""

    storage_uri: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """``name``: relative, with slashes, as it is to be here. ``size``: bytes, None where the source does not say.

    ``mark``: changes when the bytes do, as an ETag, a hash or a time. ``sha256``: hex, where the source tells.
    ``origin``: the source's own word for where it is.
    """

    name: str
    size: int | None
    mark: str
    sha256: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """All files of one artifact. ``pinned``: the address names this very content for all time: a commit, a digest, a
    version that cannot be written again; "" where another look may find something else.

    ``whole``: it is a single object whose name says that it is an archive: it is to be unpacked. ``packed``: there are
    archives among the files, and who brings them unpacks them.
    """

    files: tuple[RemoteFile, ...]
    pinned: str = ""
    whole: bool = False
    packed: bool = False

    @property
    def bytes(self) -> int:
        """As far as the source says."""
        return sum(each.size or 0 for each in self.files)

    @property
    def fingerprint(self) -> str:
        """Hex; changes when any file does."""
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        for each in sorted(self.files, key=lambda file: file.name):
            line = f"{each.name}\0{each.size}\0{each.mark}\n"
            digest.update(line.encode(errors="surrogateescape"))
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Received:
    """One file that is here now. ``digest``: SHA-256 (hex) of its bytes where who brought it has read them anyhow;
    "" where nobody has.
    """

    name: str
    size: int
    digest: str = ""


# Bytes that came since the last call; from any thread.
Progress = Callable[[int], None]


class Source(Protocol):
    """One kind of source. Both calls may run side by side, for many artifacts; both may be cancelled at any time, and
    then leave no process behind.
    """

    async def look(self, wanted: Wanted, secret: RemoteSecret | None) -> Listing:
        """What is there now. Raises SourceError; NOT_FOUND also where there is a folder without any file."""
        ...

    async def bring(
        self,
        wanted: Wanted,
        secret: RemoteSecret | None,
        listing: Listing,
        into: Path,
        progress: Progress,
    ) -> tuple[Received, ...]:
        """All files of the listing, below ``into``, which may hold some of them, whole or in part, from an earlier try
        of the same listing: these are gone on with. Raises SourceError, OSError.

        What was whole before counts as progress, too. Names were checked by who calls.
        """
        ...
