"""Which class of MLServer loads which files, as data, and which format a folder of files is.

A format is told by the model's requirements first, then by the names of files; what could be two things is left
to the person who registers it. Looks at names only: what is inside a file is the inference server's to judge.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.manifests.requirements import plain_word


@dataclass(frozen=True, slots=True)
class Format:
    """``word``: the requirement that names it. ``implementation``: the class that loads it.

    ``names``: of its file, the first found counts; ``suffixes``: of the only such file in a folder.
    ``shared_names``, ``shared_suffixes``: the same, when the requirements name the format: others use them too.
    ``folder``: the class takes the folder in which the file lies.
    """

    word: str
    implementation: str
    names: tuple[str, ...]
    suffixes: tuple[str, ...] = ()
    shared_names: tuple[str, ...] = ()
    shared_suffixes: tuple[str, ...] = ()
    folder: bool = False

    def find(self, folder: Path, *, required: bool) -> Path | None:
        """The format's file in the folder."""
        for name in (*self.names, *(self.shared_names if required else ())):
            if (folder / name).is_file():
                return folder / name
        suffixes = (*self.suffixes, *(self.shared_suffixes if required else ()))
        try:
            fitting = [p for p in folder.iterdir() if p.suffix in suffixes and p.is_file()]
        except OSError:
            return None
        return fitting[0] if len(fitting) == 1 else None


SKLEARN: Final = Format(
    "sklearn",
    "mlserver_sklearn.SKLearnModel",
    names=("model.joblib", "model.pickle", "model.pkl"),
    suffixes=(".joblib", ".pickle", ".pkl"),
)
# An MLflow folder holds other formats' files too: it comes first.
FORMATS: Final = (
    Format("mlflow", "mlserver_mlflow.MLflowRuntime", names=("MLmodel",), folder=True),
    SKLEARN,
    Format("onnx", "overbook_mlserver.onnx.OnnxModel", names=("model.onnx",), suffixes=(".onnx",)),
    Format(
        "xgboost",
        "mlserver_xgboost.XGBoostModel",
        names=("model.ubj",),
        suffixes=(".ubj",),
        shared_names=("model.json", "model.bst"),
        shared_suffixes=(".bst",),
    ),
    Format(
        "lightgbm",
        "mlserver_lightgbm.LightGBMModel",
        names=(),
        shared_names=("model.bst", "model.txt"),
        shared_suffixes=(".bst", ".txt"),
    ),
    Format(
        "catboost",
        "overbook_mlserver.catboost.CatboostModel",
        names=("model.cbm",),
        suffixes=(".cbm",),
        shared_names=("model.bin",),
    ),
)
# Extras of the runtime by the package that a class comes from: MLServer's own name or ours.
_EXTRA_OF: Final = {
    "mlserver_xgboost": "xgboost",
    "mlserver_lightgbm": "lightgbm",
    "mlserver_catboost": "catboost",
    "mlserver_mlflow": "mlflow",
    "mlserver_huggingface": "huggingface",
    "overbook_mlserver.onnx": "onnx",
    "overbook_mlserver.catboost": "catboost",
}


class Ambiguous(Exception):
    """The files could be two things. The message names both and what would decide."""


@dataclass(frozen=True, slots=True)
class Found:
    """``path``: what the class is given, a file or the folder."""

    format: Format
    path: Path


def detect(folder: Path, requirements: Collection[str]) -> Found | None:
    """What the folder holds; None when it is no format that fits the requirements. Raises Ambiguous."""
    named = _named(requirements)
    found = _all(folder, named, required=True)
    if not found and named:
        # Wrappers of these libraries for scikit-learn are pickled like anything of scikit-learn.
        found = _all(folder, [SKLEARN], required=False)
    if not named:
        found = _all(folder, FORMATS, required=False)
    if found and found[0].format.folder:
        return found[0]
    if len(found) > 1:
        files = " and ".join(f"{each.path.name} ({each.format.word})" for each in found)
        raise Ambiguous(f"it has {files}; say which by one word in requirements")
    return found[0] if found else None


def meant(folder: Path) -> str:
    """What files that are of one framework by their names want as requirement; "" where there are none, or several."""
    found = [
        (path.name, each.word) for each in FORMATS if (path := each.find(folder, required=False))
    ]
    if len(found) != 1:
        return ""
    [(file, word)] = found
    return f"; {file} is {word}'s: did you mean requirements: [{word}]?"


def _named(requirements: Collection[str]) -> list[Format]:
    words = set(map(plain_word, requirements))
    return [each for each in FORMATS if each.word in words]


def expected(requirements: Collection[str]) -> str:
    """The names of files that would be found, for a message."""
    named = _named(requirements)
    parts = []
    for each in named or FORMATS:
        names = (*each.names, *(each.shared_names if named else ()))
        suffixes = (*each.suffixes, *(each.shared_suffixes if named else ()))
        words = [*names, *(f"a single *{suffix}" for suffix in suffixes)]
        if words:
            parts.append(f"{each.word}: {', '.join(words)}")
    return "; ".join(parts)


def extra_of(implementation: str) -> str | None:
    """The extra of the runtime without which this class cannot be imported; None for what needs none."""
    for package, extra in _EXTRA_OF.items():
        if implementation == package or implementation.startswith(package + "."):
            return extra
    return None


def is_custom(implementation: str) -> bool:
    """Whether the class comes with the model, not with the runtime."""
    package = implementation.partition(".")[0]
    return not package.startswith(("mlserver", "overbook_mlserver"))


def _all(folder: Path, formats: Collection[Format], *, required: bool) -> list[Found]:
    found = []
    for each in formats:
        path = each.find(folder, required=required)
        if path is not None:
            found.append(Found(each, folder if each.folder else path))
    return found
