"""Makes, lists and removes the runtimes' environments: one per runtime, lock files and Python version.

An environment is built in a folder beside its place and published by one rename, so that whoever sees
it sees all of it; half-made ones are removed by the next installer, which holds the lock. Afterwards
nothing here needs a network. What a runtime *is* belongs to `catalogue`.

An environment never changes. One more extra makes another environment beside it, with all that the first one had:
servers that run from the first go on, also across a restart of their process, and those started later take the
larger one. `remove` clears away both.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uv

from overbook.runtimes.catalogue import (
    RUNTIMES,
    Runtime,
    UnknownExtra,
    UnknownRuntime,
    runtime,
    with_versions,
)
from overbook.runtimes.in_use import process_in
from overbook.runtimes.installed import installed, pinned

__all__ = [
    "RuntimeEnvironment",
    "RuntimeInfo",
    "RuntimeInstallError",
    "UnknownExtra",
    "UnknownRuntime",
    "capabilities",
    "environment",
    "install",
    "install_environment",
    "list_runtimes",
    "remove",
    "runtimes_dir",
]

Progress = Callable[[str, float | None], None]

_COMPLETE: Final = ".overbook-complete"
_PARTIAL: Final = ".partial-"
_INSTALL_SECONDS: Final = 1800.0
# What uv reports while it works, and how far that is. Fractions are of the whole, by measured time.
_STEPS: Final = (
    (re.compile(r"^Resolved (\d+) packages"), "resolved {0} packages", 0.1),
    (re.compile(r"^Prepared (\d+) packages"), "downloaded {0} packages", 0.6),
    (re.compile(r"^Installed (\d+) packages"), "installed {0} packages", 0.7),
    (re.compile(r"^Bytecode compiled (\d+) files"), "compiled {0} files", 0.98),
)
_DOWNLOADING: Final = re.compile(r"^\s*Downloading (\S+) \((\S+)\)")
_DOWNLOADED: Final = re.compile(r"^\s*Downloaded (\S+)")


class RuntimeInstallError(Exception):
    """The environment is not there or could not be made. One line: what happened and what to do."""


@dataclass(frozen=True, slots=True)
class RuntimeEnvironment:
    """An installed runtime. ``plugin`` goes on ``PYTHONPATH`` of what runs in it."""

    name: str
    python: Path
    root: Path
    plugin: Path
    extras: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """``path``: where it is or would be. ``size_bytes``: None when not installed.

    ``packages``: ``name==version`` of the packages that a person would ask about, as they are in the environment, or
    would be. ``extras``: those that are in it, or would be; ``more``: those that could be added, each with the packages
    that would come with it.
    """

    name: str
    installed: bool
    path: Path
    size_bytes: int | None
    packages: tuple[str, ...]
    extras: tuple[str, ...] = ()
    more: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Made:
    """What an environment says of itself in its marker file."""

    root: Path
    size_bytes: int | None
    extras: frozenset[str]


def runtimes_dir() -> Path:
    """The folder that holds all environments, as docs/architecture.md says."""
    if chosen := os.environ.get("OVERBOOK_RUNTIMES_DIR"):
        return Path(chosen).expanduser().absolute()
    if data := os.environ.get("XDG_DATA_HOME"):
        return Path(data) / "overbook" / "runtimes"
    return Path.home() / ".local" / "share" / "overbook" / "runtimes"


def list_runtimes() -> list[RuntimeInfo]:
    """Every runtime Overbook knows, installed or not."""
    found = []
    for known in RUNTIMES:
        made = _current(known)
        extras = known.default_extras() if made is None else made.extras
        packages = (
            known.pinned(extras)
            if made is None
            else with_versions(known.asked_about(extras), installed(made.root))
        )
        found.append(
            RuntimeInfo(
                name=known.name,
                installed=made is not None,
                path=_root(known, extras) if made is None else made.root,
                size_bytes=None if made is None else made.size_bytes,
                packages=packages,
                extras=tuple(each.name for each in known.extras if each.name in extras),
                more={
                    each.name: with_versions(each.packages, pinned(known.locks({each.name})))
                    for each in known.extras
                    if each.name not in extras
                },
            )
        )
    return found


def capabilities(name: str) -> tuple[str, ...]:
    """What models may require of the runtime as it is installed, or would be. Raises UnknownRuntime."""
    known = runtime(name)
    made = _current(known)
    return known.offers(known.default_extras() if made is None else made.extras)


def environment(name: str) -> RuntimeEnvironment:
    """The installed environment. Raises UnknownRuntime, RuntimeInstallError when it is not installed."""
    known = runtime(name)
    made = _current(known)
    if made is None:
        raise RuntimeInstallError(
            f"runtime {name!r} is not installed in {runtimes_dir()}; "
            f"run: overbook runtime install {name}"
        )
    return RuntimeEnvironment(
        name=name,
        python=made.root / "bin" / "python",
        root=made.root,
        plugin=known.plugin,
        extras=made.extras,
    )


def install(
    name: str,
    progress: Progress,
    *,
    extras: frozenset[str] = frozenset(),
    reinstall: bool = False,
) -> Path:
    """Make the environment unless it is there with these extras; blocks. The root of it.

    It gets the default extras, those asked for, and those that it had.
    ``progress(message, fraction)``: fraction of the whole, None when unknown.
    Raises UnknownRuntime, UnknownExtra, RuntimeInstallError.
    """
    return install_environment(runtime(name), progress, extras=extras, reinstall=reinstall)


def install_environment(
    known: Runtime,
    progress: Progress,
    *,
    extras: frozenset[str] = frozenset(),
    reinstall: bool = False,
) -> Path:
    """`install` for any set of pinned requirements, also one that is no runtime of the catalogue."""
    known.chosen(extras)
    made = _current(known)
    if made is not None and extras <= made.extras and not reinstall:
        return made.root
    folder = runtimes_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f".{known.name}.lock", progress):
            # Another process may have made it, or one with other extras, while this one waited.
            wanted = known.default_extras() | extras | _extras_so_far(known)
            root = _root(known, wanted)
            if not _is_complete(root) or reinstall:
                _build(known, wanted, progress)
    except OSError as error:
        raise RuntimeInstallError(_os_reason(known.name, folder, error)) from error
    progress(f"{known.name} is ready", 1.0)
    return root


def remove(name: str) -> bool:
    """Remove every environment of the runtime, older ones too; whether there was any.

    Raises UnknownRuntime, and RuntimeInstallError when an inference server runs from one of them.
    """
    known = runtime(name)
    folder = runtimes_dir()
    if not folder.is_dir():
        return False
    with _locked(folder / f".{known.name}.lock", _ignore):
        found = [p for p in folder.glob(f"{known.name}-*") if p.is_dir()]
        for path in found:
            if (process := process_in(path)) is not None:
                raise RuntimeInstallError(
                    f"runtime {name} is in use by process {process.pid}: stop the `overbook up` or "
                    "`overbook serve agent` that it belongs to, and try again"
                )
        for path in found:
            _discard(path)
        _remove_partials(folder, known)
    return bool(found)


def _root(known: Runtime, extras: frozenset[str]) -> Path:
    return runtimes_dir() / known.folder_name(extras)


def _is_complete(root: Path) -> bool:
    return (root / _COMPLETE).is_file() and (root / "bin" / "python").exists()


def _current(known: Runtime) -> _Made | None:
    """The environment to use: of those with today's pins, the one with the most extras."""
    fitting = [each for each in _all_made(known) if each.root == _expected_root(known, each)]
    return max(fitting, key=lambda each: len(each.extras), default=None)


def _extras_so_far(known: Runtime) -> frozenset[str]:
    """What the next environment must have too. After an upgrade, with other pins, that of the last one made."""
    made = _current(known) or max(
        _all_made(known), key=lambda each: each.root.stat().st_mtime, default=None
    )
    if made is None:
        return frozenset()
    return made.extras & {extra.name for extra in known.extras}


def _expected_root(known: Runtime, made: _Made) -> Path | None:
    try:
        return _root(known, made.extras) if known.default_extras() <= made.extras else None
    except UnknownExtra:
        return None


def _all_made(known: Runtime) -> list[_Made]:
    """Every whole environment of the runtime, also those of other versions of Overbook and Python."""
    folder = runtimes_dir()
    found = sorted(folder.glob(f"{known.name}-*")) if folder.is_dir() else []
    return [_read_marker(root) for root in found if _is_complete(root)]


def _read_marker(root: Path) -> _Made:
    try:
        said = json.loads((root / _COMPLETE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        said = None
    if not isinstance(said, dict):
        # Of a version of Overbook that knew no extras.
        return _Made(root, size_bytes=None, extras=frozenset())
    size, extras = said.get("bytes"), said.get("extras")
    return _Made(
        root,
        size_bytes=size if isinstance(size, int) else None,
        extras=frozenset(map(str, extras)) if isinstance(extras, list) else frozenset(),
    )


def _write_marker(root: Path, extras: frozenset[str]) -> None:
    # Counted once: walking twenty thousand files takes the better part of a second.
    said = {"bytes": _size(root), "extras": sorted(extras)}
    (root / _COMPLETE).write_text(json.dumps(said), encoding="utf-8")


def _build(known: Runtime, extras: frozenset[str], progress: Progress) -> None:
    root = _root(known, extras)
    _remove_partials(root.parent, known)
    partial = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{known.name}-", dir=root.parent))
    replaced = partial.with_name(f"{partial.name}-replaced")
    try:
        added = ", ".join(extra.name for extra in known.chosen(extras - known.default_extras()))
        title = f"{known.name} with {added}" if added else known.name
        progress(f"making an environment for {title}", 0.0)
        _uv(["venv", "--quiet", "--relocatable", "--python", sys.executable, str(partial)], known)
        _install_packages(known, extras, partial, progress)
        _write_marker(partial, extras)
        if root.exists():
            # Two renames, not a deletion: what runs from the old one misses it for a moment only.
            root.rename(replaced)
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _install_packages(
    known: Runtime, extras: frozenset[str], partial: Path, progress: Progress
) -> None:
    # Without dependencies: the locks are whole, and leave out on purpose what nobody needs (GPU libraries).
    command = [
        *("pip", "install", "--require-hashes", "--no-deps", "--compile-bytecode"),
        *("--python", str(partial / "bin" / "python")),
    ]
    for lock in known.locks(extras):
        command += ["-r", str(lock)]
    waiting: set[str] = set()

    def on_line(line: str) -> None:
        for pattern, text, fraction in _STEPS:
            if match := pattern.match(line):
                progress(text.format(match.group(1)), fraction)
        if match := _DOWNLOADING.match(line):
            waiting.add(match.group(1))
            progress(f"downloading {match.group(1)} ({match.group(2)})", None)
        elif match := _DOWNLOADED.match(line):
            waiting.discard(match.group(1))
            rest = f", large ones to go: {len(waiting)}" if waiting else ""
            progress(f"downloaded {match.group(1)}{rest}", None)

    _uv(command, known, on_line)


def _ignore(_message: object, _fraction: float | None = None) -> None:
    return None


def _uv(arguments: list[str], known: Runtime, on_line: Callable[[str], None] = _ignore) -> None:
    """Run uv to its end; its last words become the error."""
    env = {key: value for key, value in os.environ.items() if key not in _FOREIGN}
    env |= {"UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
    process = subprocess.Popen(
        [uv.find_uv_bin(), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=env,
        # Settings of whatever project the caller stands in must not apply; those of the user do.
        cwd=runtimes_dir(),
    )
    deadline = threading.Timer(_INSTALL_SECONDS, process.kill)
    deadline.daemon = True
    deadline.start()
    lines: list[str] = []
    try:
        for line in process.stderr or ():
            lines.append(line.rstrip())
            on_line(line)
        code = process.wait()
    finally:
        deadline.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stderr is not None:
            process.stderr.close()
    if code != 0:
        raise RuntimeInstallError(_uv_reason(known.name, lines))


_FOREIGN: Final = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "CONDA_PREFIX")


def _uv_reason(name: str, lines: list[str]) -> str:
    """One line from uv's error report: its outermost and innermost cause."""
    causes = [
        re.sub(r"^\s*(error:|cause:|Caused by:|[×├╰─▶>-]+)\s*", "", line).strip() for line in lines
    ]
    causes = [cause for cause in causes if cause and not cause.startswith(("warning:", "hint:"))]
    text = " ".join(lines)
    if "No space left on device" in text or "Disk quota exceeded" in text:
        advice = "no disk space: free some, or set OVERBOOK_RUNTIMES_DIR and UV_CACHE_DIR to another disk"
    elif re.search(
        r"dns error|connect|timed out|client error|Failed to fetch", text, re.IGNORECASE
    ):
        advice = (
            "the package index cannot be reached: check the network, or UV_INDEX_URL for a mirror"
        )
    else:
        advice = "uv could not install its packages"
    detail = causes[-1] if causes else "uv said nothing"
    return f"runtime {name!r} was not installed: {advice} ({detail})"


def _os_reason(name: str, folder: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "no disk space: free some, or set OVERBOOK_RUNTIMES_DIR to another disk"
    else:
        advice = (
            f"{error.strerror or error}; set OVERBOOK_RUNTIMES_DIR to a folder that can be written"
        )
    return f"runtime {name!r} was not installed in {folder}: {advice}"


@contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the file lock; the kernel drops it when the holder dies."""
    with open(path, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another installation to end", None)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _discard(root: Path) -> None:
    """Make it incomplete first: a removal that is cut short must not leave half an environment."""
    (root / _COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(root)


def _remove_partials(folder: Path, known: Runtime) -> None:
    for path in folder.glob(f"{_PARTIAL}{known.name}-*"):
        shutil.rmtree(path, ignore_errors=True)


def _size(root: Path) -> int:
    total = 0
    for folder, _folders, files in os.walk(root):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue
    return total
