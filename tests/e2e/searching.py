"""Looks for a value in every form that somebody could read it in: files, processes, and whatever was answered."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import psutil


def recognisable() -> str:
    """A value that is found nowhere by chance, and looks different in each way to write it; but for its digits, which
    every way to escape leaves as they are.
    """
    return f"Zk+{secrets.token_hex(12)}/é={secrets.token_urlsafe(9)}"


class Search:
    """For one value. ``found``: where it was, so far."""

    def __init__(self, value: str) -> None:
        self.value = value
        self.found: list[str] = []
        digits = re.findall("[0-9a-f]{24}", value)
        forms = {form for each in (value, *digits) for form in _forms(each)}
        self._forms = re.compile(b"|".join(map(re.escape, forms)))

    def text(self, where: str, *texts: str) -> None:
        if self._forms.search("\n".join(texts).encode()):
            self.found.append(where)

    def folder(self, folder: Path) -> int:
        """All files below it; how many there were."""
        files = [each for each in folder.rglob("*") if each.is_file() and not each.is_symlink()]
        for each in files:
            with contextlib.suppress(FileNotFoundError):
                if self._forms.search(each.read_bytes()):
                    self.found.append(str(each))
        return len(files)

    def processes(self, *roots: int, own_environment: bool = True) -> int:
        """Command lines and environments of these processes and of all that they started; how many there were.

        ``own_environment``: also those of the roots, which somebody may have given the value in it.
        """
        seen = 0
        for root in roots:
            process = psutil.Process(root)
            for each in (process, *process.children(recursive=True)):
                with contextlib.suppress(
                    psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError
                ):
                    proc = Path("/proc") / str(each.pid)
                    told = (proc / "cmdline").read_bytes()
                    if own_environment or each.pid != root:
                        told += (proc / "environ").read_bytes()
                    if self._forms.search(told):
                        self.found.append(f"process {each.pid}")
                    seen += 1
        return seen

    def holds(self, pid: int) -> bool:
        """Whether the value is in the memory of a process, as it is: only there may it be."""
        with (Path("/proc") / str(pid) / "mem").open("rb", buffering=0) as memory:
            maps = (Path("/proc") / str(pid) / "maps").read_text()
            for start, end in _writable(maps):
                with contextlib.suppress(OSError, ValueError, OverflowError):
                    memory.seek(start)
                    if self.value.encode() in memory.read(end - start):
                        return True
        return False


def _writable(maps: str) -> Iterator[tuple[int, int]]:
    for line in maps.splitlines():
        span, mode, *_ = line.split()
        if mode.startswith("rw"):
            start, _, end = span.partition("-")
            yield int(start, 16), int(end, 16)


def _forms(value: str) -> Iterator[bytes]:
    plain = value.encode()
    yield plain
    yield plain.hex().encode()
    yield plain.hex().upper().encode()
    yield plain.hex(" ").encode()
    for encoded in (quote(value), quote(value, safe=""), quote_plus(value)):
        yield encoded.encode()
    for escaped in (json.dumps(value), ascii(value), ascii(plain)):
        yield escaped.strip("b'\"").encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        # In whichever place of a longer text: what stands before it shifts it by up to two bytes.
        for shift in range(3):
            whole = encode(b"\0" * shift + plain)
            yield whole[4 if shift else 0 : len(whole) // 4 * 4 - 4]
