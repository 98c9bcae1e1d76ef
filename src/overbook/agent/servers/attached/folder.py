"""The model repository that an agent shares with an inference server it did not start: which folders are ours.

Ours are the names in the record file, and nothing else: whatever is not in it belongs to somebody else, is never
written to and never removed, also after the record was lost. The record is written before a folder is made and
after one is gone, so that a crash leaves no folder of ours that it does not name. Must not live here: formats, calls.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.agent.servers.protocol import ModelRejected, PreparedModel

RECORD: Final = ".overbook.json"
# Of folders that are not models yet, or no more. Servers pass over them, but an index may name them.
TEMPORARY: Final = ".overbook-"


class FolderUnusable(Exception):
    """The folder cannot be shared. The message names the manifest's field and says what to do."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Digests of contents: what lies in the folder, and what the server was last seen to load from it."""

    published: str
    loaded: str = ""

    @property
    def whole(self) -> bool:
        """Whether what the server loads, or has loaded, from the folder is what lies there."""
        return self.loaded == self.published


def digest_of(model: PreparedModel) -> str:
    """Of everything that decides what is loaded. Artifact folders are named by their content."""
    parameters = (f"{name}={value}" for name, value in model.parameters)
    text = "\0".join((model.artifact.name, model.version, *sorted(model.requirements), *parameters))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class SharedFolder:
    """``path``: absolute, as the agent sees it. Blocking, so it is called from several threads; each model from one.

    The lock is for the record; files are copied and removed outside of it.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._placed: dict[str, Placed] = {}
        self._lock = threading.Lock()

    @property
    def placed(self) -> Mapping[str, Placed]:
        return self._placed

    def open(self) -> None:
        """Checks the folder and reads the record. Raises FolderUnusable."""
        field = f"spec.modelRepository.path: {str(self.path)!r}"
        if not self.path.is_dir():
            raise FolderUnusable(
                f"{field} is not a folder on this machine; expected the one that the inference server reads"
            )
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise FolderUnusable(f"{field} cannot be written to; give this user permission")
        try:
            self._placed = _read(self.path / RECORD)
        except (OSError, ValueError) as error:
            raise FolderUnusable(
                f"{field} has a damaged {RECORD} ({error}); remove it, and the folders of models that are "
                "Overbook's with it"
            ) from error
        for left in self.path.glob(f"{TEMPORARY}*"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)

    def check_name(self, name: str) -> None:
        """Raises ModelRejected when a folder of that name is somebody else's."""
        if name not in self._placed and (self.path / name).exists():
            raise ModelRejected(
                f"model {name}: the attached server's repository has {self.path / name}, which Overbook did not "
                "put there; choose another name, or remove that folder",
                passing=True,
            )

    def begin(self, name: str, digest: str) -> None:
        """About to put this content under the name. Raises ModelRejected for somebody else's."""
        self.check_name(name)
        with self._lock:
            before = self._placed.get(name, Placed(""))
            self._put(name, Placed(digest, before.loaded))

    def loaded(self, name: str) -> None:
        """The server has loaded what was put there last."""
        with self._lock:
            now = self._placed[name]
            self._put(name, Placed(now.published, now.published))

    def swap_in(self, name: str, files: Path) -> None:
        """Makes ``files`` (made by `temporary`) the model's folder at one stroke; what was there goes."""
        old = self.temporary()
        place = self.path / name
        if place.exists():
            place.rename(old)
        files.rename(place)
        shutil.rmtree(old, ignore_errors=True)

    def temporary(self) -> Path:
        """A path inside the folder that nothing is at; servers pass over names with a dot."""
        return self.path / f"{TEMPORARY}{uuid.uuid4().hex}"

    def remove(self, name: str) -> None:
        """Takes the model's folder away, if it is ours."""
        with self._lock:
            if name not in self._placed:
                return
            gone = self.temporary()
            # One rename first: a server must not see half of a model.
            with contextlib.suppress(FileNotFoundError):
                (self.path / name).rename(gone)
            del self._placed[name]
            self._write()
        shutil.rmtree(gone, ignore_errors=True)

    def _put(self, name: str, placed: Placed) -> None:
        self._placed[name] = placed
        self._write()

    def _write(self) -> None:
        models = {
            name: {"published": each.published, "loaded": each.loaded}
            for name, each in sorted(self._placed.items())
        }
        temporary = self.path / f"{RECORD}.new"
        temporary.write_text(json.dumps({"models": models}), encoding="utf-8")
        temporary.replace(self.path / RECORD)


def _read(record: Path) -> dict[str, Placed]:
    try:
        said = json.loads(record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    models = said.get("models") if isinstance(said, dict) else None
    if not isinstance(models, dict):
        raise ValueError("expected an object with models")
    found = {}
    for name, each in models.items():
        if not isinstance(each, dict):
            raise ValueError(f"expected an object for {name!r}")
        found[name] = Placed(str(each.get("published", "")), str(each.get("loaded", "")))
    return found
