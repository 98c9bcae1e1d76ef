"""Finds the version of scikit-learn that saved a pickle, and unpickles nothing.

Every estimator of scikit-learn writes its version into what is pickled of it, under one name. That name and what
follows it are looked for in the bytes of the file, at the head and at the end: the reader of `pickles` cannot follow
the instructions beyond joblib's first array, and the name of a large estimator mostly comes after its arrays.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO, Final

from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.reading import open_file
from overbook.agent.servers.formats.unpacking import unpack
from overbook.artifacts.compressed import compression_of
from overbook.artifacts.walk import walk

SUFFIXES: Final = (".joblib", ".pickle", ".pkl")
# Files that are looked into.
_FILES: Final = 8
# Bytes that are searched: at the head, at the end, and of what is compressed.
_HEAD: Final = 32 << 20
_END: Final = 1 << 20
_UNPACKED: Final = 8 << 20
_FIRST: Final = 64 << 10
# The name, what remembers it (by protocol of pickle), and the beginning of the text that follows.
_NAMED: Final = re.compile(
    rb"_sklearn_version(?:\x94|q.|r.{4}|\np\d{1,9}\n)?(?:\x8c(.)|X(.)\x00\x00\x00|(V))", re.DOTALL
)
_VERSION: Final = re.compile(r"\d{1,4}(\.\w{1,12}){1,4}", re.ASCII)
_LONGEST: Final = 40


def saved_with(folder: Path) -> str:
    """The version of scikit-learn that saved the pickles of an artifact's folder; "" where none tells.

    Raises OSError, ArtifactError. Time and memory are bounded, whatever the bytes are.
    """
    pickles = (name for name, _ in walk(folder) if name.endswith(SUFFIXES))
    for name in sorted(pickles, key=lambda name: (name.count("/"), name))[:_FILES]:
        try:
            with open_file(folder / name) as file:
                found = _version_in(file)
        except FormatError:
            continue
        if found:
            return found
    return ""


def _version_in(file: BinaryIO) -> str:
    size = os.fstat(file.fileno()).st_size
    head = file.read(_FIRST)
    if compression := compression_of(head):
        file.seek(0)
        return version_told(unpack(file, compression, size, _UNPACKED).head)
    if found := version_told(head):
        return found
    file.seek(0)
    if found := version_told(file.read(_HEAD)):
        return found
    if size <= _HEAD:
        return ""
    file.seek(max(_HEAD, size - _END))
    return version_told(file.read(_END))


def version_told(content: bytes) -> str:
    """The version that the first estimator in these bytes was saved with; "" where none tells."""
    for found in _NAMED.finditer(content):
        length = found[1] or found[2]
        said = content[found.end() : found.end() + (length[0] if length else _LONGEST)]
        text = said.partition(b"\n")[0].decode("ascii", "replace")
        if _VERSION.fullmatch(text):
            return text
    return ""
