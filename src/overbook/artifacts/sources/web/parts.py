"""Files that are not whole yet, and what is known about them, so that a later try goes on with them. Blocking.

They lie in a folder of their own beside the one that they are for, so no name of an artifact's can meet them. Its
``journal`` has a line for each file that was begun (where: which version of it) and for each that is whole (with the
digest). A line is written before what it tells about can be found: whenever a process is killed, what lies here is as
its line says, or shorter, or its line is missing, and then it is begun anew.

After a power cut a file may be as long as it was and hold zeros. What was begun in another life of the machine is
therefore begun anew, and what is whole is read again and compared with its digest.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from overbook.artifacts.sources.protocol import RemoteFile

_JOURNAL: Final = "journal"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_NAME_BYTES: Final = 20


def parts_of(into: Path) -> Path:
    """Where files that are to be in ``into`` lie until they are whole."""
    return into.with_name(into.name + ".parts")


@dataclass(frozen=True, slots=True)
class Begun:
    """A part of a file: its ``size`` in bytes, and the ``validator`` of the version that it is of."""

    size: int
    validator: str


class Parts:
    """Those of one artifact. All of it may be called from several threads, for different files."""

    def __init__(self, into: Path) -> None:
        """Reads what an earlier try left. Raises OSError."""
        self._into = into
        self._folder = parts_of(into)
        for folder in (self._into, self._folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
        self._journal = os.open(
            self._folder / _JOURNAL, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        self._begun: dict[str, dict[str, Any]] = {}
        self._whole: dict[str, dict[str, Any]] = {}
        self._read()

    def close(self) -> None:
        os.close(self._journal)

    def path_of(self, file: RemoteFile) -> Path:
        """Of the part; there may be nothing."""
        name = file.name.encode(errors="surrogateescape")
        return self._folder / hashlib.blake2b(name, digest_size=_NAME_BYTES).hexdigest()

    def begun(self, file: RemoteFile) -> Begun | None:
        """What is here of this very version of a file, to be gone on with."""
        line = self._begun.get(file.name)
        if line is None or line != self._line(file, validator=str(line.get("validator"))):
            return None
        try:
            return Begun(self.path_of(file).stat().st_size, str(line["validator"]))
        except FileNotFoundError:
            return None

    def begin(self, file: RemoteFile, validator: str) -> int:
        """A descriptor of an empty part, for appending. ``validator``: "" for what cannot be gone on with later."""
        path = self.path_of(file)
        path.unlink(missing_ok=True)
        line = self._line(file, validator=validator)
        self._append(line)
        self._begun[file.name] = line
        return os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600
        )

    def go_on(self, file: RemoteFile) -> int:
        """A descriptor of a part that was begun, for appending."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self.path_of(file), flags)

    def drop(self, file: RemoteFile) -> None:
        """Forget a part that is no good."""
        self._begun.pop(file.name, None)
        self.path_of(file).unlink(missing_ok=True)

    def finish(self, file: RemoteFile, digest: str) -> None:
        """The part is whole; ``digest`` is the SHA-256 (hex) of it. From now on it lies where it was meant for."""
        line = self._line(file, digest=digest)
        self._append(line)
        self._whole[file.name] = line
        self._begun.pop(file.name, None)
        self._move(file)

    def whole(self, file: RemoteFile) -> str:
        """The digest that this very version of a file had when it was whole here, "" where it never was. To be compared
        with the bytes that lie there now.
        """
        line = self._whole.get(file.name)
        if line is None or line | {"boot": ""} != self._line(file, digest=line["digest"], boot=""):
            return ""
        if not self.target_of(file).exists() and self.path_of(file).exists():
            self._move(file)  # killed between the line and this
        return str(line["digest"])

    def target_of(self, file: RemoteFile) -> Path:
        """Where it is to be when it is whole."""
        return self._into / file.name

    def _move(self, file: RemoteFile) -> None:
        target = self.target_of(file)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path_of(file).replace(target)

    def _line(self, file: RemoteFile, **more: str) -> dict[str, Any]:
        line = {"name": file.name, "size": file.size, "mark": file.mark, "sha256": file.sha256}
        return line | {"boot": self._boot} | more

    def _append(self, line: dict[str, Any]) -> None:
        os.write(self._journal, json.dumps(line).encode() + b"\n")

    def _read(self) -> None:
        """Of each file the last line counts. A line that was cut off tells nothing."""
        size = os.fstat(self._journal).st_size
        text = os.pread(self._journal, size, 0)
        if text and not text.endswith(b"\n"):
            os.write(self._journal, b"\n")
        for raw in text.splitlines():
            try:
                line = json.loads(raw)
                name = line["name"]
            except (ValueError, KeyError, TypeError):
                continue
            if "digest" in line:
                self._whole[name] = line
                self._begun.pop(name, None)
            else:
                self._begun[name] = line
                self._whole.pop(name, None)
