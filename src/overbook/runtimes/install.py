"""Makes, lists and removes the runtimes' environments: one per runtime, lock files and Python version.

An environment is built in a folder beside its place and published by one rename, so that whoever sees
it sees all of it; half-made ones are removed by the next installer, which holds the lock. Afterwards
nothing here needs a network. What a runtime *is* belongs to `catalogue`.

An environment never changes. One more extra, or another version that somebody chooses, makes another environment
beside it, with all else that the first one had: servers that run from the first go on, also across a restart of their
process, and those started later take the one that was chosen last. `remove` clears away both.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from overbook.runtimes.building import fill, make_empty
from overbook.runtimes.catalogue import (
    RUNTIMES,
    Runtime,
    UnknownExtra,
    UnknownRuntime,
    runtime,
    with_versions,
)
from overbook.runtimes.in_use import is_held, process_in
from overbook.runtimes.installed import installed
from overbook.runtimes.installer import (
    COMPLETE,
    Progress,
    RuntimeInstallError,
    complete,
    ignore,
    is_complete,
    locked,
    os_reason,
    said_of,
    size_of,
)
from overbook.runtimes.recipe import Recipe, merged, name_of, same_module

__all__ = [
    "RuntimeEnvironment",
    "RuntimeInfo",
    "RuntimeInstallError",
    "UnknownExtra",
    "UnknownRuntime",
    "environment",
    "install",
    "install_environment",
    "list_runtimes",
    "remove",
    "runtimes_dir",
]

_PARTIAL: Final = ".partial-"


@dataclass(frozen=True, slots=True)
class RuntimeEnvironment:
    """An installed runtime. ``plugin`` goes on ``PYTHONPATH`` of what runs in it.

    ``identity``: changes with the versions that a model meets, and not with further extras.
    """

    name: str
    python: Path
    root: Path
    plugin: Path
    extras: frozenset[str] = frozenset()
    identity: str = ""


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
    packages: tuple[str, ...] = ()
    chosen: float = 0.0  # when, in Unix seconds


def runtimes_dir() -> Path:
    """The folder that holds all environments, as docs/architecture.md says. Raises RuntimeInstallError."""
    if chosen := os.environ.get("OVERBOOK_RUNTIMES_DIR"):
        return Path(os.path.expanduser(chosen)).absolute()
    if data := os.environ.get("XDG_DATA_HOME"):
        return Path(data) / "overbook" / "runtimes"
    try:
        home = Path.home()
    except RuntimeError as error:
        raise RuntimeInstallError(
            "there is no home folder to keep runtimes in: HOME is not set, and the user has no entry in the passwd "
            "file; set OVERBOOK_RUNTIMES_DIR to a folder, or HOME"
        ) from error
    return home / ".local" / "share" / "overbook" / "runtimes"


def list_runtimes() -> list[RuntimeInfo]:
    """Every runtime Overbook knows, installed or not."""
    found = []
    for known in RUNTIMES:
        made = _current(known)
        extras = known.default_extras() if made is None else made.extras
        packages = (
            known.pinned(extras)
            if made is None
            else with_versions(_asked_about(known, made), installed(made.root))
        )
        found.append(
            RuntimeInfo(
                name=known.name,
                installed=made is not None,
                path=_root(Recipe(known, extras)) if made is None else made.root,
                size_bytes=None if made is None else made.size_bytes,
                packages=packages,
                extras=tuple(each.name for each in known.extras if each.name in extras),
                more={
                    each.name: with_versions(each.packages, known.pins({each.name}))
                    for each in known.extras
                    if each.name not in extras
                },
            )
        )
    return found


def _asked_about(known: Runtime, made: _Made) -> tuple[str, ...]:
    names = (other for name in known.asked_about(made.extras) for other in same_module(name))
    return tuple(dict.fromkeys((*names, *map(name_of, made.packages))))


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
        identity=Recipe(known, frozenset(), made.packages).folder_name,
    )


def install(
    name: str,
    progress: Progress,
    *,
    extras: frozenset[str] = frozenset(),
    packages: tuple[str, ...] = (),
    reinstall: bool = False,
) -> Path:
    """Make the environment unless it is there with these extras and packages; blocks. The root of it.

    It gets the default extras, those asked for, and those that it had, and so with ``packages``, versions that go
    before the runtime's pins (see `recipe`). ``progress(message, fraction)``: fraction of the whole, None when unknown.
    Raises UnknownRuntime, UnknownExtra, RuntimeInstallError.
    """
    return install_environment(
        runtime(name), progress, extras=extras, packages=packages, reinstall=reinstall
    )


def install_environment(
    known: Runtime,
    progress: Progress,
    *,
    extras: frozenset[str] = frozenset(),
    packages: tuple[str, ...] = (),
    reinstall: bool = False,
) -> Path:
    """`install` for any set of pinned requirements, also one that is no runtime of the catalogue."""
    known.chosen(extras)
    made = _current(known)
    if made is not None and extras <= made.extras and not (packages or reinstall):
        return made.root
    folder = runtimes_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f".{known.name}.lock", progress):
            # Another process may have made it, or one with other extras, while this one waited.
            before = _so_far(known)
            wanted = Recipe(
                known,
                known.default_extras() | extras | before.extras,
                merged(known, before.packages, packages),
            )
            root = _root(wanted)
            if not is_complete(root) or reinstall:
                _build(wanted, progress)
            elif (made := _current(known)) is None or made.root != root:
                _write_marker(root, wanted, _read_marker(root).size_bytes)
    except OSError as error:
        raise RuntimeInstallError(
            os_reason(_failed(known.name), folder, error, "set OVERBOOK_RUNTIMES_DIR to a folder")
        ) from error
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
    with locked(folder / f".{known.name}.lock", ignore):
        found = [p for p in folder.glob(f"{known.name}-*") if p.is_dir()]
        for path in found:
            process = process_in(path)
            if process is None and not is_held(path):
                continue
            who = "an agent" if process is None else f"process {process.pid}"
            raise RuntimeInstallError(
                f"runtime {name} is in use by {who}: stop the `overbook up` or `overbook serve agent` that it "
                "belongs to, and try again"
            )
        for path in found:
            _discard(path)
        _remove_partials(folder, known)
    return bool(found)


def _root(recipe: Recipe) -> Path:
    return runtimes_dir() / recipe.folder_name


def _current(known: Runtime) -> _Made | None:
    """The environment to use: of those with today's pins, the one that was chosen last."""
    fitting = [each for each in _all_made(known) if each.root == _expected_root(known, each)]
    return max(fitting, key=lambda each: (each.chosen, len(each.extras)), default=None)


def _so_far(known: Runtime) -> Recipe:
    """What the next environment must have too. After an upgrade, with other pins, that of the last one made."""
    made = _current(known) or max(
        _all_made(known), key=lambda each: each.root.stat().st_mtime, default=None
    )
    if made is None:
        return Recipe(known, frozenset())
    return Recipe(known, made.extras & {extra.name for extra in known.extras}, made.packages)


def _expected_root(known: Runtime, made: _Made) -> Path | None:
    try:
        fits = known.default_extras() <= made.extras
        return _root(Recipe(known, made.extras, made.packages)) if fits else None
    except UnknownExtra:
        return None


def _all_made(known: Runtime) -> list[_Made]:
    """Every whole environment of the runtime, also those of other versions of Overbook and Python."""
    folder = runtimes_dir()
    found = sorted(folder.glob(f"{known.name}-*")) if folder.is_dir() else []
    return [_read_marker(root) for root in found if is_complete(root)]


def _read_marker(root: Path) -> _Made:
    said = said_of(root)
    size, chosen = said.get("bytes"), said.get("chosen")
    return _Made(
        root,
        size_bytes=size if isinstance(size, int) else None,
        extras=frozenset(_texts(said.get("extras"))),
        packages=_texts(said.get("packages")),
        chosen=chosen if isinstance(chosen, float) else 0.0,
    )


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _write_marker(root: Path, recipe: Recipe, size: int | None = None) -> None:
    said = {
        "bytes": size_of(root) if size is None else size,
        "extras": sorted(recipe.extras),
        "packages": list(recipe.packages),
        "chosen": time.time(),
    }
    complete(root, said)


def _failed(name: str) -> str:
    return f"runtime {name!r} was not installed"


def _build(recipe: Recipe, progress: Progress) -> None:
    root, name = _root(recipe), recipe.runtime.name
    _remove_partials(root.parent, recipe.runtime)
    partial = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{name}-", dir=root.parent))
    replaced = partial.with_name(f"{partial.name}-replaced")
    try:
        progress(f"making an environment for {recipe.title}", 0.0)
        make_empty(partial, _failed(name))
        fill(recipe, partial, progress, _failed(name))
        _write_marker(partial, recipe)
        if root.exists():
            # Two renames, not a deletion: what runs from the old one misses it for a moment only.
            root.rename(replaced)
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def _discard(root: Path) -> None:
    """Make it incomplete first: a removal that is cut short must not leave half an environment."""
    (root / COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(root)


def _remove_partials(folder: Path, known: Runtime) -> None:
    for path in folder.glob(f"{_PARTIAL}{known.name}-*"):
        shutil.rmtree(path, ignore_errors=True)
