"""Gives back what Python itself keeps: the memory of small objects that are gone.

A text model is a dictionary of some hundred thousand words. Python keeps such objects in arenas of 1 MiB, and gives
one back only when nothing at all is left in it. When a large model goes, each small one that came after it keeps one
whole arena alive: sixty models, half of them texts, in 60 MB made an interpreter hold up to 40 % more than they took.
Within an arena free pools are easily found, but not from Python: while it looks, it takes some. So there is a
little C (`pools.c`), compiled once with the machine's compiler. Without one, or on a Python that is laid out in
another way, the memory stays where it is, and the agent withholds it.

`forget_names` belongs to it: Python's cache of attributes holds on to the newest string by which each was asked for, of
which unpickling leaves some in the midst of every model.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_SOURCE = Path(__file__).with_name("pools.c")
_VERSIONS = ((3, 10), (3, 11), (3, 12), (3, 13))
_COMPILERS = ("cc", "gcc", "clang")
_COMPILE_SECONDS = 60
_POOL = 16384
_CLASSES_OF = 16

_trim: Callable[[], int] | None = None


def watch(folder: str) -> None:
    """Begin to write arenas down; as early as possible, since those from before are not known. ``folder``: for the
    compiled code, of this user alone.
    """
    global _trim
    problem = _unlike()
    library = None if problem else _compiled(Path(folder))
    if library is None:
        print(
            f"memory of small objects is not given back: {problem or 'no C compiler'}",
            file=sys.stderr,
        )
        return
    # With the interpreter lock held, which is what makes it safe.
    loaded = ctypes.PyDLL(str(library))
    loaded.overbook_watch()
    loaded.overbook_trim.restype = ctypes.c_size_t
    _trim = loaded.overbook_trim


def give_back() -> int:
    """Bytes that went back to the kernel: a tenth of a millisecond where nothing had become free."""
    return 0 if _trim is None else _trim()


def forget_names() -> None:
    """Let go of the strings in the cache of attributes, which is filled again as they are asked for."""
    sys._clear_type_cache()


def _unlike() -> str:
    """What is different here from what the code was written for; empty: nothing."""
    if sys.implementation.name != "cpython" or sys.version_info[:2] not in _VERSIONS:
        return f"Python {sys.version.split()[0]} was not looked at"
    if sys.maxsize < 2**32 or os.environ.get("PYTHONMALLOC", "pymalloc") != "pymalloc":
        return "another allocator is in use"
    # One object, and what its pool says of itself.
    witness = bytes(450)
    size = sys.getsizeof(witness)
    header = (ctypes.c_uint32 * 12).from_address(id(witness) // _POOL * _POOL)
    used, size_class, last = header[0], header[9], header[11]
    expected = (size - 1) // _CLASSES_OF
    if size_class != expected or not 0 < used <= _POOL // size or not 0 < last < _POOL:
        return "pools are laid out in another way"
    return ""


def _compiled(folder: Path) -> Path | None:
    digest = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:16]
    library = folder / f"pools-{digest}.so"
    if library.exists():
        return library
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    made = library.with_suffix(f".{os.getpid()}")
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(made), str(_SOURCE)]
    try:
        subprocess.run(command, check=True, timeout=_COMPILE_SECONDS, stdin=subprocess.DEVNULL)
        made.replace(library)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"{' '.join(command)}: {error}", file=sys.stderr)
        return None
    return library
