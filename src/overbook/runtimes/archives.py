"""Unpacks an archive of an environment, as conda-pack or somebody with a venv made it, and tries its Python.

Links may lead to files of this machine, as a venv's to its Python. All else stays inside: nothing is written elsewhere,
and nothing but files, folders and links is made. What the archive has of our own marks in environments is left out.
``failed``, wherever it is given, begins the message of a failure.
"""

from __future__ import annotations

import errno
import lzma
import os
import stat
import subprocess
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Final

from overbook.runtimes.abandoning import check, run
from overbook.runtimes.installer import RuntimeInstallError

_EXPECTED: Final = "expected a .tar.gz of conda-pack or of a venv"
# Written by conda-pack: makes the paths in the files those of this machine.
_UNPACKER: Final = "conda-unpack"
_UNPACK_SECONDS: Final = 300.0
_TRY_SECONDS: Final = 60.0
_OUR_MARKS: Final = ("overbook-packages.txt", ".overbook-")
# Beyond it the kernel follows no path, and nobody can tell where it leads.
_LONGEST_PATH: Final = 4000
_SAID: Final = 300
# These say that the folder cannot be written, whatever is in the archive.
_OF_THE_FOLDER: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE)
_BROKEN: Final = (
    *(tarfile.TarError, EOFError, ValueError, ArithmeticError, RecursionError),
    *(zlib.error, lzma.LZMAError),
)


class _Refused(tarfile.FilterError):
    """The message is for people."""

    def __init__(self, member: tarfile.TarInfo, why: str) -> None:
        super().__init__(f"{_short(member.name)} {why}")
        self.tarinfo = member


def unpack(archive: Path, root: Path, failed: str) -> None:
    """With its files at the top or in one folder. Raises RuntimeInstallError, OSError."""
    root.mkdir()
    _extract(archive, root, failed)
    _lift(root)
    _try(archive, root, failed)
    if (root / "bin" / _UNPACKER).is_file():
        command = [str(root / "bin" / "python"), str(root / "bin" / _UNPACKER)]
        if why := _wrong_with(command, _UNPACK_SECONDS):
            raise RuntimeInstallError(f"{failed}: {_UNPACKER} of {archive} failed: {why}")


def _extract(archive: Path, root: Path, failed: str) -> None:
    try:
        packed = tarfile.open(archive)  # noqa: SIM115 - closed below
    except _BROKEN as error:
        raise RuntimeInstallError(f"{failed}: {archive} is no archive; {_EXPECTED}") from error
    with packed:
        try:
            packed.extractall(root, filter=_taken)
        except _BROKEN as error:
            why = _said(str(error))
        except OSError as error:
            if error.errno in _OF_THE_FOLDER:
                raise
            why = f"{_short(Path(error.filename).name)}: {error.strerror}" if error.filename else ""
            why = why or _said(str(error))
        else:
            return
    raise RuntimeInstallError(f"{failed}: {archive} cannot be unpacked: {why}; {_EXPECTED}")


def _taken(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """The member as it is unpacked, None for one that is left out. Raises FilterError."""
    check()
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise _Refused(member, "is a device or a pipe, and not a file")
    taken = tarfile.tar_filter(member, folder)
    place = os.path.join(folder, taken.name)
    if not _inside(place, folder):
        raise _Refused(member, "leads out of the environment")
    at = PurePosixPath(os.path.relpath(os.path.realpath(place), os.path.realpath(folder)))
    if any(part.startswith(_OUR_MARKS) for part in at.parts[:2]):
        return None
    if member.islnk() and not _inside(os.path.join(folder, member.linkname), folder):
        raise _Refused(
            member, f"is a hard link to {_short(member.linkname)}, outside of the environment"
        )
    if member.issym():
        target = os.path.join(os.path.dirname(place), member.linkname)
        # Into a folder one could write; a venv's Python is a file.
        if os.path.isdir(target) and not _inside(target, folder):
            raise _Refused(
                member,
                f"is a link to {_short(member.linkname)}, a folder outside of the environment",
            )
    return taken


def _inside(path: str, folder: str) -> bool:
    """Whether it leads to the folder or to what is in it, links followed."""
    there, root = os.path.realpath(path), os.path.realpath(folder)
    return len(there) < _LONGEST_PATH and os.path.commonpath([there, root]) == root


def _lift(root: Path) -> None:
    """A folder that was packed as such, and not what is in it, becomes the root."""
    inside = list(root.iterdir())
    if len(inside) != 1 or inside[0].is_symlink() or not (inside[0] / "bin").is_dir():
        return
    # Away first: what is in it may have its name.
    packed = inside[0].rename(root / ".overbook-packed")
    for each in packed.iterdir():
        each.rename(root / each.name)
    packed.rmdir()


def _try(archive: Path, root: Path, failed: str) -> None:
    """Whether there is a Python that runs here. Raises RuntimeInstallError."""
    python = root / "bin" / "python"
    try:
        found = python.stat()
    except OSError as error:
        if not python.is_symlink():
            raise RuntimeInstallError(
                f"{failed}: {archive} has no bin/python; {_EXPECTED}"
            ) from error
        if error.errno == errno.ELOOP:
            raise RuntimeInstallError(
                f"{failed}: bin/python of {archive} is a link to itself; {_EXPECTED}"
            ) from error
        raise RuntimeInstallError(
            f"{failed}: {archive} was made for {python.readlink()}, which is not on this machine; pack it with "
            "conda-pack, which takes Python along"
        ) from error
    why = "it is not a file"
    if stat.S_ISREG(found.st_mode):
        # Its own code alone: packages may start whatever they like.
        why = _wrong_with([str(python), "-I", "-S", "-c", "import sys, sysconfig"], _TRY_SECONDS)
    if why:
        raise RuntimeInstallError(
            f"{failed}: bin/python of {archive} is no Python that runs on this machine: {why}; {_EXPECTED}"
        )


def _wrong_with(command: list[str], seconds: float) -> str:
    """What it says when it fails; empty when it does not."""
    try:
        code, said = run(command, seconds=seconds)
    except subprocess.TimeoutExpired:
        return f"it did not end within {seconds:g} s"
    except OSError as error:
        return error.strerror or str(error)
    return (_said(said) or f"it ended with exit code {code}") if code else ""


def _said(text: str) -> str:
    """In a line; of much, the end."""
    return " ".join(text.split())[-_SAID:]


def _short(text: str) -> str:
    return text if len(text) <= 80 and text.isprintable() else f"{text[:76]!r}..."
