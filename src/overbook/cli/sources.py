"""Manifests from files, folders and standard input, ready to be sent: checked, with absolute paths.

The only place that reads manifest files. What a manifest may say is `overbook.manifests`' business.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from overbook.client.http import Json, JsonObject
from overbook.manifests.parse import MAX_TEXT, Document, Parsed, Source, parse_sources
from overbook.manifests.problems import ManifestError, Path, Problem
from overbook.manifests.specs import has_scheme

STDIN: Final = "-"
_STDIN_NAME: Final = "<stdin>"
_SUFFIXES: Final = (".yaml", ".yml", ".json")
# Artifacts often lie beside the manifests that name them, and these are MLServer's, not ours.
_NOT_MANIFESTS: Final = frozenset({"model-settings.json", "settings.json"})


class Bytes(Protocol):
    """Something to read standard input from."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """One manifest as the control API takes it. `place` is `file:line` for messages about it."""

    kind: str
    name: str
    body: JsonObject
    place: str
    document: Document = field(repr=False)

    @property
    def label(self) -> str:
        """`model/iris`, as commands print it."""
        return f"{self.kind.lower()}/{self.name}"

    def problem(self, message: str, path: Path) -> Problem:
        """A problem with the field at ``path``, and where that is."""
        line = self.document.node.line_of(path or ("metadata", "name"))
        return Problem(message, path, self.document.source, line)


@dataclass(frozen=True, slots=True)
class Manifests:
    """All Models and Servers that the paths gave, in order, and what their authors should know."""

    loaded: tuple[Loaded, ...]
    warnings: tuple[Problem, ...]


def load_manifests(paths: Sequence[str], *, stdin: Bytes) -> Manifests:
    """Reads and checks; a relative storageUri is resolved against its file's folder (stdin: where we are).

    Raises ManifestError with every problem of every file, unreadable ones included.
    """
    problems: list[Problem] = []
    sources: list[Source] = []
    for path in paths:
        for item in _sources(path, stdin):
            if isinstance(item, Problem):
                problems.append(item)
            else:
                sources.append(item)
    parsed = Parsed(())
    try:
        parsed = parse_sources(sources)
    except ManifestError as error:
        problems.extend(error.problems)
    if not (parsed.documents or parsed.skipped or problems):
        problems.append(Problem(f"no manifests in {', '.join(paths)}; expected a Model or Server"))
    if problems:
        raise ManifestError(problems)
    warnings = list(parsed.skipped)
    loaded = []
    for document in parsed.documents:
        warnings.extend(document.warnings)
        body = document.manifest.to_json()
        _resolve(body, document)
        place = f"{document.source}:{document.line}"
        loaded.append(Loaded(document.manifest.kind, document.manifest.name, body, place, document))
    return Manifests(tuple(loaded), tuple(warnings))


def _resolve(body: JsonObject, document: Document) -> None:
    """Makes a relative path of the body absolute."""
    found = _path_in(body["spec"])
    if found is None:
        return
    holder, name = found
    folder = "." if document.source == _STDIN_NAME else os.path.dirname(document.source)
    holder[name] = os.path.abspath(os.path.join(folder, str(holder[name])))


def _path_in(spec: Json) -> tuple[JsonObject, str] | None:
    """The path in a spec: what holds it, and as which field."""
    if not isinstance(spec, dict):
        return None
    uri = spec.get("storageUri")
    if isinstance(uri, str) and not has_scheme(uri):
        return spec, "storageUri"
    own = spec.get("environment")
    for name in ("requirements", "archive"):
        if isinstance(own, dict) and isinstance(own.get(name), str):
            return own, name
    return None


def _sources(path: str, stdin: Bytes) -> Iterator[Source | Problem]:
    if path == STDIN:
        yield _decoded(_STDIN_NAME, stdin.read(MAX_TEXT + 1))
    elif os.path.isdir(path):
        files = list(_files(path))
        if not files:
            yield Problem("no manifests here; expected *.yaml, *.yml or *.json", source=path)
        for file in files:
            yield _read(file)
    else:
        yield _read(path)


def _files(folder: str) -> Iterator[str]:
    """Manifest files below a folder, in the order of their names."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            hidden = name.startswith(".") or name in _NOT_MANIFESTS
            if name.endswith(_SUFFIXES) and not hidden:
                yield os.path.join(where, name)


def _read(path: str) -> Source | Problem:
    try:
        with open(path, "rb") as file:
            return _decoded(path, file.read(MAX_TEXT + 1))
    except OSError as error:
        return Problem(f"cannot be read: {error.strerror}; expected a manifest file", source=path)


def _decoded(name: str, content: bytes) -> Source | Problem:
    try:
        return Source(name, content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Problem("not UTF-8 text; save the file as UTF-8", source=name, line=line)
