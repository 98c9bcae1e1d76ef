"""What an apply on this machine would refuse, told while nothing runs: budgets, addresses, files, and their formats.

Where a model would be placed is not told here: that depends on what is registered already.
"""

from __future__ import annotations

import socket
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.agent.looking import failing_alone
from overbook.agent.servers.factory import CHECKS, WORDS
from overbook.agent.servers.protocol import ModelRejected, PreparedModel
from overbook.artifacts.address import is_remote, local_path, scheme_of
from overbook.artifacts.errors import SourceError
from overbook.artifacts.survey import survey
from overbook.client.http import JsonObject
from overbook.machine.room import machine_bytes
from overbook.manifests.names import is_model_name
from overbook.manifests.problems import Path as FieldPath
from overbook.manifests.problems import shown
from overbook.manifests.specs import ModelManifest, ServerManifest, ServerSpec
from overbook.manifests.validate import validate_object
from overbook.runtimes import requirements_file
from overbook.runtimes.capabilities import sources
from overbook.runtimes.recipe import UnusableRequirement
from overbook.scheduler.errors import Invalid
from overbook.scheduler.manifests_in import Defaults, checked_server

_FILES: Final = "its files"
_STORAGE_URI: Final = ("spec", "storageUri")


@dataclass(frozen=True, slots=True)
class Refusal:
    """``path``: the field that it is about; empty where the message names it."""

    path: FieldPath
    message: str


def check(documents: Sequence[JsonObject]) -> list[Refusal | None]:
    """Looks at each of these manifests, which are valid in themselves; None for what would be taken."""
    manifests = [validate_object(each).manifest for each in documents]
    servers = {each.name: each.spec for each in manifests if isinstance(each, ServerManifest)}
    machine = machine_bytes()
    return [
        _model(each, servers)
        if isinstance(each, ModelManifest)
        else _server(each, Defaults(memory=1, machine=machine))
        for each in manifests
    ]


def _server(manifest: ServerManifest, defaults: Defaults) -> Refusal | None:
    try:
        checked_server(manifest, defaults, generation=0, created=0.0)
    except Invalid as error:
        return Refusal((), str(error))
    own = manifest.spec.environment
    for name in ("requirements", "archive"):
        path = None if own is None else getattr(own, name)
        if path is not None and not Path(path).is_file():
            told = f"{shown(path)} is not a file on this machine; expected the one that the environment is made from"
            return Refusal(("spec", "environment", name), told)
    if own is not None and own.requirements is not None:
        try:
            requirements_file.read(Path(own.requirements))
        except UnusableRequirement as error:
            return Refusal(("spec", "environment", "requirements"), str(error))
        except OSError as error:
            told = f"{shown(own.requirements)} cannot be read: {error.strerror or error}"
            return Refusal(("spec", "environment", "requirements"), told)
    return None


def _model(manifest: ModelManifest, servers: Mapping[str, ServerSpec]) -> Refusal | None:
    spec = manifest.spec
    if is_remote(spec.storage_uri):
        # Its source is asked by those who fetch from there, with secrets that only they know.
        try:
            scheme_of(spec.storage_uri)
        except SourceError as error:
            return Refusal(_STORAGE_URI, str(error))
        return None
    version = "" if spec.artifact_version is None else str(spec.artifact_version)
    found = survey(spec.storage_uri, version, socket.gethostname())
    if isinstance(found, str):
        return Refusal(_STORAGE_URI, found)
    server = servers.get(spec.server or "")
    kinds = (
        _kinds(spec.all_requirements, found.made_for) if server is None else [server.server_config]
    )
    refused: list[str] = []
    with _folder(Path(local_path(spec.storage_uri, socket.gethostname()))) as folder:
        model = PreparedModel(
            name=manifest.name,
            generation=1,
            artifact=folder,
            requirements=spec.all_requirements,
            version=version,
            parameters=tuple((each.name, each.value) for each in spec.parameters),
        )
        for kind in kinds:
            if kind not in CHECKS:
                return None
            try:
                with failing_alone(manifest.name, _FILES):
                    CHECKS[kind](model)
            except ModelRejected as error:
                refused.append(str(error))
            else:
                return None
    return Refusal(_STORAGE_URI, refused[0]) if refused else None


def _kinds(requirements: Sequence[str], made_for: str) -> list[str]:
    """The kinds of server that may have all these words, the one that the files are made for first."""
    words: dict[str, set[str]] = {}
    for each in sources():
        words.setdefault(each.runtime, set()).add(each.word)
    able = [kind for kind, known in words.items() if known.issuperset(requirements)]
    return sorted(able, key=lambda kind: kind != made_for)


@dataclass(frozen=True, slots=True)
class Found:
    """A folder that could be a model: ``words`` are its requirements; ``refused``: why it is none, else ""."""

    name: str
    words: tuple[str, ...] = ()
    refused: str = ""


def models_in(repository: Path) -> list[Found]:
    """Looks at each folder of a model repository, as inference servers have them. Raises OSError."""
    inside = sorted(each for each in repository.iterdir() if not each.name.startswith("."))
    found = [_found_at(each) for each in inside]
    return [each for each in found if each is not None]


def _found_at(path: Path) -> Found | None:
    """None for a file, which may lie beside models."""
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        kind = "a link that cannot be followed" if path.is_symlink() else "not to be read"
        return Found(path.name, refused=f"it is {kind} ({error.strerror}); remove it, or mend it")
    return _found(path) if is_folder else None


def _found(folder: Path) -> Found:
    name = folder.name
    if not is_model_name(name):
        return Found(name, refused=f"{shown(name)} cannot be a model's name; rename the folder")
    looked = survey(str(folder))
    if isinstance(looked, str):
        return Found(name, refused=looked)
    refused: list[str] = []
    for kind in sorted(CHECKS, key=lambda kind: kind != looked.made_for):
        try:
            model = PreparedModel(name=name, generation=1, artifact=folder)
            with failing_alone(name, _FILES):
                CHECKS[kind](model)
                word = WORDS[kind](model)
        except ModelRejected as error:
            refused.append(str(error))
        else:
            return Found(name, (word,) if word else ())
    return Found(name, refused=refused[0])


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """A folder with the artifact: itself, or one around a single file."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="overbook-check-") as made:
        (Path(made) / path.name).symlink_to(path)
        yield Path(made)
