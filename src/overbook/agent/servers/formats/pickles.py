"""Reads from the head of a pickle which classes it is of, and unpickles nothing.

A pickle is a program; here its instructions are listed, none is followed, and only its first `HEAD` bytes are
looked at. That is enough: whatever a pickle holds, the class of the outermost object comes first. joblib writes the
bytes of arrays between the instructions, so what follows its first array cannot be read as instructions and is not.
"""

from __future__ import annotations

import os
import pickletools
import re
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.reading import open_file
from overbook.agent.servers.formats.unpacking import unpack
from overbook.artifacts.compressed import compression_of

# Bytes that are looked at.
HEAD: Final = 64 << 10
# The first two tell a forest from a pipeline, and a pipeline of texts from one of numbers.
TOLD: Final = 2
_RAW_ARRAY: Final = ("joblib.numpy_pickle", "NumpyArrayWrapper")
# They hold what others made: of what, they do not tell.
_PASSED_OVER: Final = frozenset(
    (
        "numpy",
        "joblib",
        "scipy",
        "cloudpickle",
        "__builtin__",
        "copy_reg",
        *sys.stdlib_module_names,
    )
) - {"__main__"}
_NAME: Final = re.compile(r"[A-Za-z_]\w{0,79}(\.[A-Za-z_]\w{0,79}){0,9}", re.ASCII)
_STRINGS: Final = frozenset(
    ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINSTRING", "BINSTRING")
)


@dataclass(frozen=True, slots=True)
class PickleHead:
    """``classes``: the first `TOLD` that say something, as ``module.name``. ``compression``: "" for none.

    ``bytes``: of the pickle, unpacked; None where nobody can tell.
    """

    classes: tuple[str, ...]
    compression: str = ""
    bytes: int | None = None


def read_pickle(path: Path) -> PickleHead:
    """Raises FormatError for what is no pickle, and for one that says nothing in its first `HEAD` bytes; OSError.

    Time and memory are bounded, whatever the bytes are.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(HEAD)
        compression = compression_of(head)
        if not compression:
            return PickleHead(classes_in(head), bytes=size)
        file.seek(0)
        try:
            unpacked = unpack(file, compression, size, HEAD)
        except FormatError:
            # joblib packs only what it pickled.
            return PickleHead((), compression)
    return PickleHead(classes_in(unpacked.head), compression, unpacked.bytes)


def classes_in(head: bytes) -> tuple[str, ...]:
    """The first `TOLD` that a pickle is of, by its first bytes. Raises FormatError."""
    try:
        return _classes(head[:HEAD])
    # What lists the instructions was not made for files that mean ill: it raises anything.
    except Exception as error:
        raise FormatError(f"its head cannot be read: {error!r}") from error


def _classes(plain: bytes) -> tuple[str, ...]:
    found: list[str] = []
    try:
        for module, name in _globals(plain):
            if (module, name) == _RAW_ARRAY:
                break
            if module.partition(".")[0] in _PASSED_OVER:
                continue
            if not _NAME.fullmatch(module) or not _NAME.fullmatch(name):
                continue
            found.append(f"{module}.{name}")
            if len(found) == TOLD:
                break
    # Cut off in the midst: what came before counts.
    except Exception:
        if not found:
            raise
    return tuple(found)


def _globals(plain: bytes) -> Iterator[tuple[str, str]]:
    """Modules and names in the order in which they are looked up.

    Raises whatever `pickletools` does, which includes ValueError where the bytes end too early.
    """
    memo: dict[int, str] = {}
    strings: deque[str] = deque(("", ""), maxlen=2)
    latest = ""
    for opcode, argument, _ in pickletools.genops(plain):
        operation = opcode.name
        if operation == "MEMOIZE":
            memo[len(memo)] = latest
        elif operation in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[int(str(argument))] = latest
        elif operation in _STRINGS:
            latest = str(argument)
            strings.append(latest)
        elif operation in ("BINGET", "LONG_BINGET", "GET"):
            latest = memo.get(int(str(argument)), "")
            strings.append(latest)
        else:
            latest = ""
            if operation == "STACK_GLOBAL":
                yield strings[0], strings[1]
            elif operation in ("GLOBAL", "INST"):
                module, _, name = str(argument).partition(" ")
                yield module, name
