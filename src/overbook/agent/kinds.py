"""What kind of thing an artifact is, as far as that predicts what it takes in memory: a word, and bytes.

Two artifacts with the same word become memory in the same way: the same format, and for pickles the same classes.
Files are looked at and never loaded; of each only the head is read, of ONNX files the structure. Whatever is found
there, nothing is raised: an artifact that nobody understands is "files".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.onnx_weights import weights_of
from overbook.agent.servers.formats.pickles import HEAD, read_pickle
from overbook.agent.servers.formats.reading import open_file
from overbook.artifacts.walk import walk

FILES: Final = "files"
CODE: Final = "code"
# Files that are looked into, of those whose names speak for them.
_LOOKED_AT: Final = 8
# What ONNX Runtime takes for an operation beside its weights, bytes: measured on graphs of 2 to 240.
_ONNX_NODE: Final = 7 << 10
_MLFLOW: Final = "MLmodel"
_LOADER: Final = re.compile(rb"^[ \t]*loader_module:[ \t]*([\w.]{1,80})", re.MULTILINE)
_SAVED_MODEL: Final = "saved_model.pb"
_SETTINGS: Final = "model-settings.json"


@dataclass(frozen=True, slots=True)
class ArtifactKind:
    """``word``: a stable key, such as ``onnx`` or ``pickle:sklearn.svm._classes.SVC``; before it ``code:`` where the
    model brings Python files, ``mlflow:FLAVOUR:`` where it is an MLflow model. ``bytes``: the size that predicts.
    """

    word: str
    bytes: int


# Names relative to the artifact with slashes, and sizes in bytes.
_Files = Mapping[str, int]


def kind_of(folder: Path) -> ArtifactKind:
    """Of an artifact's folder, or of the version folder in it that is meant. Blocking, bounded; raises nothing."""
    found: dict[str, int] = {}
    try:
        found.update(_files(folder))
        for inside in _places(found):
            kind = _kind(folder / inside, _below(found, inside))
            if kind is not None:
                return kind
    # It was made by somebody else, perhaps to do harm, and a guess is not worth any failure.
    except Exception:
        pass
    return ArtifactKind(FILES, sum(found.values()))


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Regular files; links lead to what is here anyhow."""
    for name, entry in walk(folder):
        if entry.is_file(follow_symlinks=False):
            yield name, entry.stat(follow_symlinks=False).st_size


def _places(files: _Files) -> list[str]:
    """Where the model may be: at the top, else in the folder of the newest version."""
    numbers = {name.partition("/")[0] for name in files if "/" in name}
    versions = sorted((each for each in numbers if each.isdecimal()), key=int, reverse=True)
    return ["", *(f"{each}/" for each in versions[:_LOOKED_AT])]


def _below(files: _Files, inside: str) -> _Files:
    return {
        name.removeprefix(inside): size for name, size in files.items() if name.startswith(inside)
    }


def _kind(folder: Path, files: _Files) -> ArtifactKind | None:
    """Of what lies here; None when there is nothing that can be told."""
    top = {name for name in files if "/" not in name}
    if _MLFLOW in top:
        flavour = _flavour(folder / _MLFLOW)
        return ArtifactKind(_joined(f"mlflow:{flavour}", _file(folder, files)), sum(files.values()))
    saved = _saved_model(files)
    if saved is not None:
        return saved
    if any(name.endswith(".py") for name in files if _is_here(name)):
        return ArtifactKind(_joined(CODE, _file(folder, files)), sum(files.values()))
    return _file(folder, {name: files[name] for name in top}, sum(files.values()))


def _is_here(name: str) -> bool:
    """Whether it is a file of this place, not of a version that lies below it."""
    return not name.partition("/")[0].isdecimal()


def _joined(word: str, inner: ArtifactKind | None) -> str:
    return word if inner is None else f"{word}:{inner.word}"


def _saved_model(files: _Files) -> ArtifactKind | None:
    """TensorFlow's folder, which may lie in one that Triton expects."""
    for name in files:
        inside, _, file = name.rpartition("/")
        if file == _SAVED_MODEL and "/" not in inside and not inside.isdecimal():
            prefix = f"{inside}/" if inside else ""
            return ArtifactKind("saved-model", sum(_below(files, prefix).values()))
    return None


def _file(folder: Path, files: _Files, total: int | None = None) -> ArtifactKind | None:
    """Of the file that is the model: one that is called so, else the largest that can be told.

    ``total``: bytes of all files, when some may be parts of it that are not listed.
    """
    total = sum(files.values()) if total is None else total
    named = sorted(
        (name for name in files if PurePosixPath(name).suffix in _READERS and name != _SETTINGS),
        key=lambda name: (PurePosixPath(name).stem != "model", -files[name], name),
    )
    for name in named[:_LOOKED_AT]:
        kind = _READERS[PurePosixPath(name).suffix](folder / name, files[name], total)
        if kind is not None:
            return kind
    return None


def _pickle(path: Path, size: int, _: int) -> ArtifactKind | None:
    try:
        head = read_pickle(path)
    except (FormatError, OSError):
        return None
    if head.bytes is None:
        return ArtifactKind("joblib-packed", size)
    word = f"joblib-{head.compression}" if head.compression else "pickle"
    classes = "+".join(head.classes)
    return ArtifactKind(f"{word}:{classes}" if classes else word, head.bytes)


def _onnx(path: Path, size: int, total: int) -> ArtifactKind | None:
    beside = total - size
    try:
        weights = weights_of(path)
    except (FormatError, OSError):
        return ArtifactKind("onnx", size)
    outside = beside if weights.outside is None else min(weights.outside, beside)
    if weights.trees:
        # Trees are no tensors: the file's own size tells more of them.
        return ArtifactKind("onnx-trees", size + outside)
    return ArtifactKind("onnx", weights.inside + outside + weights.nodes * _ONNX_NODE)


def _booster(path: Path, size: int, _: int) -> ArtifactKind | None:
    """By content: several libraries use the same names."""
    try:
        head = _head(path)
    except (FormatError, OSError):
        return None
    word = ""
    if head.startswith(b"CBM1"):
        word = "catboost-cbm"
    elif head.startswith(b"tree\n"):
        word = "lightgbm-txt"
    elif head.startswith(b"{") and b"learner" in head:
        # In UBJSON, JSON's binary sister, the names of fields come with lengths instead of quotes.
        word = "xgboost-json" if b'"learner"' in head else "xgboost-ubj"
    return ArtifactKind(word, size) if word else None


def _torch(path: Path, size: int, _: int) -> ArtifactKind | None:
    try:
        return ArtifactKind("torchscript", size) if _head(path).startswith(b"PK") else None
    except (FormatError, OSError):
        return None


def _flavour(path: Path) -> str:
    """The last word of the module that loads an MLflow model, such as sklearn."""
    found = _LOADER.search(_head(path))
    return found[1].decode("ascii", "replace").rpartition(".")[2] if found else "pyfunc"


def _head(path: Path) -> bytes:
    with open_file(path) as file:
        return file.read(HEAD)


_READERS: Final[Mapping[str, Callable[[Path, int, int], ArtifactKind | None]]] = {
    ".onnx": _onnx,
    **dict.fromkeys((".joblib", ".pickle", ".pkl"), _pickle),
    **dict.fromkeys(
        (".json", ".ubj", ".bst", ".xgb", ".txt", ".lgb", ".cbm", ".bin", ".cb"), _booster
    ),
    **dict.fromkeys((".pt", ".pth"), _torch),
}
