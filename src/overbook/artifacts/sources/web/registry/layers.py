"""Makes one folder of the layers that were brought: tars laid one over the other, and files beside them. Blocking."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from overbook.artifacts.archives import Bounds, unpack_layers
from overbook.artifacts.errors import ArtifactError, SourceError, Trouble
from overbook.artifacts.keeping import FOLDER_MODE
from overbook.artifacts.sources.protocol import Received
from overbook.artifacts.sources.web.one_version import no_such_version
from overbook.artifacts.sources.web.registry.manifest import MODELS, Layers
from overbook.artifacts.stopping import CheckStopped
from overbook.artifacts.versions import folder_of
from overbook.artifacts.walk import walk


@dataclass(frozen=True, slots=True)
class Workplace:
    """``parts``: a folder beside ``into``, on the same disk, which goes when all is in ``into``."""

    parts: Path
    into: Path

    @property
    def blobs(self) -> Path:
        """Where the layers lie that were brought."""
        return self.parts / "layers"

    @property
    def made(self) -> Path:
        """Where the folder is made, anew in every try."""
        return self.parts / "unpacked"


def lay(
    address: str,
    layers: Layers,
    version: str,
    place: Workplace,
    bounds: Bounds,
    stopped: CheckStopped,
) -> tuple[Received, ...]:
    """What is in ``place.into`` afterwards; what was there before goes. Raises ArtifactError, OSError.

    ``version``: the folder of which alone something is taken, beside the files at the top; "" for everything.
    """
    shutil.rmtree(place.made, ignore_errors=True)
    try:
        _unpack(layers, place, bounds, stopped)
    except SourceError as error:
        raise SourceError(error.trouble, f"{address}: {error}") from None
    tars = {f"{each.removeprefix('sha256:')}.tar" for each in layers.tars}
    for each in layers.files:
        if each.name not in tars:
            _place(address, place.blobs / each.name, place.made, each.name)
    if version:
        _keep_version(address, place.made, version)
    received = tuple(
        Received(name, entry.stat(follow_symlinks=False).st_size)
        for name, entry in walk(place.made)
        if entry.is_file(follow_symlinks=False)
    )
    _move(place.made, place.into)
    shutil.rmtree(place.parts)
    return received


def _move(made: Path, into: Path) -> None:
    """Into a folder that stays the one that it is, whatever an earlier try has left there."""
    into.mkdir(mode=FOLDER_MODE, exist_ok=True)
    for each in list(into.iterdir()):
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
    for each in list(made.iterdir()):
        os.rename(each, into / each.name)


def _unpack(layers: Layers, place: Workplace, bounds: Bounds, stopped: CheckStopped) -> None:
    tars = [place.blobs / f"{each.removeprefix('sha256:')}.tar" for each in layers.tars]
    if layers.image:
        place.made.mkdir(mode=FOLDER_MODE)
        try:
            unpack_layers(tars, place.made, bounds, stopped, below=MODELS)
        except ArtifactError:
            # Nothing is below it; or something is wrong, which then is wrong with the whole image, too.
            if any(place.made.iterdir()):
                raise
        else:
            return
        place.made.rmdir()
    place.made.mkdir(mode=FOLDER_MODE)
    unpack_layers(tars, place.made, bounds, stopped)


def _place(address: str, blob: Path, root: Path, name: str) -> None:
    """Another name for the same bytes, so that the blob is still there for the next try."""
    path = root / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(blob, path)
    except (FileExistsError, NotADirectoryError):
        raise SourceError(
            Trouble.REFUSED, f"{address} has {name!r} twice: as a layer, and within another"
        ) from None


def _keep_version(address: str, root: Path, version: str) -> None:
    folders = [each.name for each in root.iterdir() if each.is_dir()]
    filled = (each for each in folders if any((root / each).iterdir()))
    folder = folder_of(version, filled, address)
    if not folder:
        raise no_such_version(address, version, folders)
    for each in list(root.iterdir()):
        if each.is_dir() and not each.is_symlink() and each.name != folder:
            shutil.rmtree(each)
