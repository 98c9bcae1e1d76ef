"""Environments of Servers' own: made of packages that a manifest names, of a requirements file, or of an archive.

Each lies in the folder that the caller gives, under a name that is made of everything it consists of: Servers that ask
for the same share one, and what was made once is there at the next start. An archive may lack what the server needs;
that is then added to what it has.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from overbook.runtimes import requirements_file
from overbook.runtimes.abandoning import check
from overbook.runtimes.archives import unpack
from overbook.runtimes.building import fill_chosen, make_empty
from overbook.runtimes.catalogue import Runtime
from overbook.runtimes.in_use import is_held
from overbook.runtimes.install import RuntimeEnvironment
from overbook.runtimes.installed import installed
from overbook.runtimes.installer import (
    COMPLETE,
    Progress,
    RuntimeInstallError,
    complete,
    import_all,
    is_complete,
    locked,
    os_reason,
    said_of,
    size_of,
)
from overbook.runtimes.recipe import (
    Recipe,
    UnusableRequirement,
    implied,
    missing,
    name_of,
    normal,
    present,
)
from overbook.runtimes.requirements_file import MOST_FILES, Requirements

log = logging.getLogger(__name__)

_READ: Final = 1 << 20
_NOTE: Final = ".last"
_FAILED: Final = "its environment was not made"
_KEPT_SECONDS: Final = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What a Server's manifest asks for: one of the three. Paths are of this machine."""

    packages: tuple[str, ...] = ()
    requirements: Path | None = None
    archive: Path | None = None

    @property
    def file(self) -> Path | None:
        return self.requirements or self.archive


def state_of(wish: Wish) -> tuple[int, ...]:
    """Changes when a file behind a wish does; the same while there is none."""
    if wish.file is None:
        return ()
    files: tuple[Path, ...] = (wish.file,)
    state = _state(files)
    if not any(state):
        return ()
    # What is included may include more: it is all known when nothing comes to it.
    for _ in range(MOST_FILES):
        more = files if wish.requirements is None else _behind(wish.requirements, state)
        if more == files:
            break
        files, state = more, _state(more)
    return state


@lru_cache(maxsize=256)
def _behind(path: Path, _state: tuple[int, ...]) -> tuple[Path, ...]:
    return requirements_file.files_behind(path)


def _state(files: Iterable[Path]) -> tuple[int, ...]:
    return tuple(number for each in files for number in _state_of_one(each))


def _state_of_one(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError:
        return (0,)
    return (found.st_ino, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the environment of a wish lies, or will. ``title``: what it is made of, for people.

    ``asked``: what is in its requirements file. ``note``: where it is written down which environment a file led to.
    """

    recipe: Recipe
    wish: Wish
    root: Path
    title: str
    asked: Requirements | None = None
    note: Path | None = None


def place_of(known: Runtime, extras: frozenset[str], wish: Wish, folder: Path) -> Place:
    """Reads what the environment is made from, and makes nothing; blocks. Raises RuntimeInstallError."""
    with _in_words(wish, folder):
        if last := _last(known, extras, wish, folder):
            log.warning("%s is gone; what was made of it is used", wish.file)
            return last
        asked = None if wish.requirements is None else requirements_file.read(wish.requirements)
        recipe = _recipe(known, extras, wish, asked)
        root = folder.absolute() / recipe.keyed(_content(recipe, wish, asked))
        title = recipe.title if wish.file is None else str(wish.file)
        return Place(recipe, wish, root, title, asked, _note(known, extras, wish, folder))


def made_at(place: Place) -> RuntimeEnvironment | None:
    """The environment if it is there, without a wait for whoever makes others. Blocks, briefly."""
    if not is_complete(place.root):
        return None
    try:
        # It is in use again: see `prune`.
        os.utime(place.root / COMPLETE)
    except OSError:
        return None
    return _environment(place)


def make_at(place: Place, progress: Progress) -> RuntimeEnvironment:
    """The environment, made unless somebody has done so meanwhile; blocks. Raises RuntimeInstallError."""
    root, folder = place.root, place.root.parent
    with _in_words(place.wish, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f".{root.name}.lock", progress):
            if not is_complete(root):
                _make(place, progress)
        os.utime(root / COMPLETE)
    progress(f"the environment {root.name} is ready", 1.0)
    return _environment(place)


@contextmanager
def _in_words(wish: Wish, folder: Path) -> Iterator[None]:
    try:
        yield
    except UnusableRequirement as error:
        raise RuntimeInstallError(f"{_FAILED}: {error}") from error
    except OSError as error:
        if wish.file is not None and error.filename == str(wish.file):
            why = error.strerror or str(error)
            raise RuntimeInstallError(f"{_FAILED}: {wish.file} cannot be read: {why}") from error
        raise RuntimeInstallError(
            os_reason(_FAILED, folder, error, "give another folder with --state-dir,")
        ) from error


def _environment(place: Place) -> RuntimeEnvironment:
    known, root = place.recipe.runtime, place.root
    if place.note is not None:
        with contextlib.suppress(OSError):
            _write_down(place.note, root.name)
    made = said_of(root).get("extras")
    return RuntimeEnvironment(
        name=known.name,
        python=root / "bin" / "python",
        root=root,
        plugin=known.plugin,
        extras=frozenset(map(str, made)) if isinstance(made, list) else frozenset(),
        identity=root.name,
    )


def _note(known: Runtime, extras: frozenset[str], wish: Wish, folder: Path) -> Path | None:
    """Another one for each runtime, with its pins and extras, and each file."""
    if wish.file is None:
        return None
    runtime = known.folder_name(known.default_extras() | extras)
    digest = hashlib.sha256(f"{runtime}\0{wish.file}".encode(errors="surrogateescape"))
    return folder.absolute() / f".{digest.hexdigest()[:16]}{_NOTE}"


def _write_down(note: Path, name: str) -> None:
    """At once or not at all, and only what is new."""
    if note.exists() and note.read_text(encoding="utf-8") == name:
        return
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=note.parent, suffix=".new", delete=False
    ) as made:
        made.write(name)
    os.replace(made.name, note)


def _last(known: Runtime, extras: frozenset[str], wish: Wish, folder: Path) -> Place | None:
    """What a file that is gone led to when it was read last; None where the file is there, or that is gone too."""
    note = _note(known, extras, wish, folder)
    if wish.file is None or os.path.exists(wish.file) or note is None or not note.is_file():
        return None
    root = note.parent / note.read_text(encoding="utf-8")
    return Place(Recipe(known, extras), wish, root, str(wish.file)) if is_complete(root) else None


def prune(folder: Path) -> list[Path]:
    """Remove environments that nobody holds, and nobody has asked for within a week; which those were."""
    gone = [
        root
        for root in (folder.iterdir() if folder.is_dir() else ())
        if is_complete(root) and not is_held(root) and _age(root) > _KEPT_SECONDS
    ]
    for root in gone:
        _clear(root)
    for note in folder.glob(f".*{_NOTE}"):
        if not (folder / note.read_text(encoding="utf-8")).is_dir():
            note.unlink()
    return gone


def _age(root: Path) -> float:
    return time.time() - (root / COMPLETE).stat().st_mtime


def _recipe(
    known: Runtime, extras: frozenset[str], wish: Wish, asked: Requirements | None
) -> Recipe:
    packages = normal(known, wish.packages)
    names = {*map(name_of, packages), *(() if asked is None else asked.names)}
    return Recipe(known, known.default_extras() | extras | implied(known, names), packages)


def _content(recipe: Recipe, wish: Wish, asked: Requirements | None) -> bytes:
    """What the environment's name is made of beside runtime and extras."""
    if asked is not None:
        return b"requirements\0" + requirements_file.content(asked, check)
    if wish.archive is not None:
        if os.path.exists(wish.archive) and not os.path.isfile(wish.archive):
            raise UnusableRequirement(f"{wish.archive} is not a file; expected an archive")
        return b"archive\0" + _digest(wish.archive, *state_of(wish))
    return b"packages\0" + "\n".join(recipe.packages).encode()


@lru_cache(maxsize=64)
def _digest(path: Path, *_state: int) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_READ):
            check()
            digest.update(part)
    return digest.digest()


def _make(place: Place, progress: Progress) -> None:
    """In its place, as what conda packed cannot be moved; it counts once its marker is there."""
    recipe, wish, root = place.recipe, place.wish, place.root
    known = recipe.runtime
    if wish.requirements is not None and place.asked is None:
        # It went away since somebody looked.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(wish.requirements))
    _clear(root)
    try:
        if wish.archive is not None:
            progress(f"unpacking {wish.archive.name}", 0.0)
            unpack(wish.archive, root, _FAILED)
            _complete_archive(recipe, root, progress)
        else:
            named = wish.requirements.name if wish.requirements is not None else place.title
            progress(f"making an environment for {named}", 0.0)
            make_empty(root, _FAILED)
            fill_chosen(recipe, root, progress, _FAILED, asked=place.asked)
        here = installed(root)
        extras = recipe.extras | present(known, here)
        complete(root, {"bytes": size_of(root), "extras": sorted(extras)})
    except BaseException:
        _clear(root)
        raise


def _complete_archive(recipe: Recipe, root: Path, progress: Progress) -> None:
    known, here = recipe.runtime, installed(root)
    other = {
        name: version
        for name, version in here.items()
        if known.is_server(name) and version != known.pins(_all(known)).get(name, version)
    }
    if other:
        name, version = min(other.items())
        raise RuntimeInstallError(
            f"{_FAILED}: the archive has {name} {version}, and what Overbook adds to it is made for "
            f"{known.pins(_all(known))[name]}; pack it with that version, or without"
        )
    recipe = Recipe(known, recipe.extras | implied(known, here))
    if lacking := missing(recipe, here):
        progress(f"adding what the server needs: {', '.join(lacking)}", None)
        fill_chosen(recipe, root, progress, _FAILED, kept=here)
    else:
        import_all(root / "bin" / "python", known.imports, _FAILED)


def _all(known: Runtime) -> frozenset[str]:
    return frozenset(extra.name for extra in known.extras)


def _clear(root: Path) -> None:
    """What is cut short must not leave half an environment that counts as whole."""
    if not root.exists():
        return
    for marker in root.glob(".overbook-complete*"):
        marker.unlink()
    shutil.rmtree(root)
