"""Names the content of an artifact: a digest of its names and bytes, the same wherever they came from.

It is BLAKE2b (160 bits) of one line for each entry, and a file's line has the SHA-256 of its bytes, which many sources
tell, and which is quick where the processor has instructions for it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from overbook.artifacts.entries import LocalEntry, survey
from overbook.artifacts.errors import ArtifactError
from overbook.artifacts.keeping import open_regular
from overbook.artifacts.stopping import CheckStopped, never

_DIGEST_BYTES: Final = 20
_CHUNK: Final = 1 << 20
# Reading side by side: more makes no disk quicker, and each takes a chunk of memory.
_READERS: Final = min(4, os.cpu_count() or 1)
# Fewer bytes than this are read sooner than threads are started.
_WORTH_THREADS: Final = 4 << 20
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Digested:
    """What an artifact holds: its digest (hex) and the bytes of its files."""

    digest: str
    bytes: int


def digest_of(
    files: Iterable[tuple[str, int, str]],
    *,
    folders: Iterable[str] = (),
    links: Iterable[tuple[str, str]] = (),
) -> str:
    """The digest (hex) of an artifact, as `content_of` finds it where these files lie.

    ``files``: name, bytes, and SHA-256 (hex) of each. Folders that something lies in need not be given. ``links``:
    name, and where it points, as `LocalEntry.link` has it.
    """
    lines = {name: f"file {name}\0{size}\0{sha256}" for name, size, sha256 in files}
    lines |= {name: f"link {name}\0{target}" for name, target in links}
    given = list(folders)
    for name in [*lines, *given]:
        parent = name.rpartition("/")[0]
        while parent and parent not in lines:
            lines[parent] = f"folder {parent}"
            parent = parent.rpartition("/")[0]
    lines |= {name: f"folder {name}" for name in given}
    hasher = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for _, line in sorted(lines.items()):
        hasher.update(line.encode() + b"\n")
    return hasher.hexdigest()


def digest_of_entries(entries: Iterable[LocalEntry], sha256: Mapping[str, str]) -> Digested:
    """``sha256``: hex, of each file by its name."""
    every = list(entries)
    files = [each for each in every if not each.folder and each.link is None]
    digest = digest_of(
        ((each.name, each.size, sha256[each.name]) for each in files),
        folders=(each.name for each in every if each.folder),
        links=((each.name, each.link) for each in every if each.link is not None),
    )
    return Digested(digest, sum(each.size for each in files))


def content_of(
    folder: Path, known: Mapping[str, str] = _NOTHING, check_stopped: CheckStopped = never
) -> Digested:
    """What is in a folder of ours, by reading all files but those whose SHA-256 (hex) is ``known`` by name.

    Several are read side by side. ``check_stopped`` is called now and then, in any thread; what it raises ends the
    reading. Blocking. Raises ArtifactError when it cannot be an artifact, and when a file changes meanwhile.
    """
    _, entries = survey(folder)
    unread = [e for e in entries if not e.folder and e.link is None and e.name not in known]

    def read(entry: LocalEntry) -> str:
        try:
            return _sha256_of(entry, check_stopped)
        except OSError as error:
            raise ArtifactError(
                f"{folder}: {entry.name} cannot be read: {error.strerror or error}"
            ) from error

    if len(unread) > 1 and sum(each.size for each in unread) >= _WORTH_THREADS:
        # The largest first, or one of them is read alone in the end.
        unread.sort(key=lambda entry: -entry.size)
        with ThreadPoolExecutor(_READERS, "digesting") as readers:
            found = list(readers.map(read, unread))
    else:
        found = [read(each) for each in unread]
    sha256 = {each.name: digest for each, digest in zip(unread, found, strict=True)}
    return digest_of_entries(entries, {**known, **sha256})


def _sha256_of(entry: LocalEntry, check_stopped: CheckStopped) -> str:
    hasher, length = hashlib.sha256(), 0
    buffer = memoryview(bytearray(min(_CHUNK, entry.size + 1)))
    with open_regular(entry.file) as file:
        while count := file.readinto(buffer):
            check_stopped()
            hasher.update(buffer[:count])
            length += count
    if length != entry.size:
        raise OSError(f"it had {entry.size} bytes, then {length}")
    return hasher.hexdigest()
