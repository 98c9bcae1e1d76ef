"""From an artifact's files to the settings that MLServer loads: which file, which class, from where.

Reads folders, writes nothing and talks to no server. Version slots are never used: under one name without
a version a load is a clean in-place update, with slots every request gets 400 meanwhile.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlparse

from overbook.agent.servers.protocol import ModelRejected, PreparedModel

SETTINGS_FILE: Final = "model-settings.json"
_SKLEARN: Final = "mlserver_sklearn.SKLearnModel"
_WELL_KNOWN: Final = ("model.joblib", "model.pickle", "model.pkl")
_SUFFIXES: Final = (".joblib", ".pickle", ".pkl")
_EXPECTED: Final = (
    f"{SETTINGS_FILE}, one of {', '.join(_WELL_KNOWN)}, "
    "or a single *.joblib, *.pickle or *.pkl file, at the top or in a folder named by a version number"
)
_IMPLEMENTATION: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_SHOWN_FILES: Final = 8
_LOAD_ON_LOOP: Final = "overbook_load_on_loop"

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a model's files are. ``settings``: the user's own file, or None for a plain artifact."""

    folder: Path
    settings: Path | None
    file: Path | None


def find_layout(model: PreparedModel) -> Layout:
    """Look at the artifact's files. Raises ModelRejected naming what was found and what was expected."""
    root = model.artifact
    if not root.is_dir():
        raise ModelRejected(f"model {model.name}: its artifact folder {root} does not exist")
    folders = (_version_folder(model),) if model.version else (root, *_version_folders(root))
    for folder in folders:
        settings = folder / SETTINGS_FILE
        if settings.is_file():
            return Layout(folder=folder, settings=settings, file=None)
        if (file := _model_file(folder)) is not None:
            return Layout(folder=folder, settings=None, file=file)
    where = f" in its folder {model.version}" if model.version else ""
    raise ModelRejected(
        f"model {model.name}: no file that MLServer can load{where}; "
        f"found {_listing(folders[-1] if where else root)}; expected {_EXPECTED}"
    )


def server_settings(model: PreparedModel) -> Json:
    """The content of the settings file for the server. Raises ModelRejected with one line."""
    layout = find_layout(model)
    if layout.settings is None:
        settings: Json = {
            "implementation": _SKLEARN,
            "parameters": {"uri": str(layout.file)},
        }
    else:
        settings = _own_settings(model.name, layout)
    settings["name"] = model.name
    settings["overbook"] = {
        "folder": str(layout.folder),
        "load_on_loop": _wants_loop(settings),
    }
    return settings


def static_metadata(model: PreparedModel) -> Json:
    """OIP metadata as the files tell it, in the shape of MLServer's own answer. Raises ModelRejected."""
    layout = find_layout(model)
    own = _read(model.name, layout.settings) if layout.settings is not None else {}
    parameters: Json = {}
    declared = own.get("parameters")
    if isinstance(declared, dict) and declared.get("content_type"):
        parameters["content_type"] = declared["content_type"]
    return {
        "name": model.name,
        "versions": own.get("versions") or [],
        "platform": own.get("platform") or "",
        "inputs": own.get("inputs") or [],
        "outputs": own.get("outputs") or [],
        "parameters": parameters,
    }


def _own_settings(name: str, layout: Layout) -> Json:
    assert layout.settings is not None
    settings = _read(name, layout.settings)
    where = f"model {name}: {SETTINGS_FILE}"
    implementation = settings.get("implementation")
    if not isinstance(implementation, str) or not _IMPLEMENTATION.fullmatch(implementation):
        raise ModelRejected(
            f"{where}: implementation is {implementation!r}, expected MODULE.CLASS "
            f"such as {_SKLEARN!r}"
        )
    parameters = settings.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise ModelRejected(f"{where}: parameters is {parameters!r}, expected an object")
    for field in ("environment_tarball", "environment_path"):
        if parameters.get(field):
            raise ModelRejected(
                f"{where}: parameters.{field} is not supported, as it needs MLServer's parallel "
                "workers; install the packages into a runtime of your own instead"
            )
    kept = {key: value for key, value in parameters.items() if key != "version"}
    kept["uri"] = _resolved_uri(where, layout.folder, kept.get("uri"))
    return {**settings, "parameters": kept}


def _read(name: str, path: Path) -> Json:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelRejected(f"model {name}: {SETTINGS_FILE} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ModelRejected(
            f"model {name}: {SETTINGS_FILE} is {type(found).__name__}, expected an object"
        )
    return found


def _resolved_uri(where: str, folder: Path, uri: object) -> str:
    """An absolute path inside the artifact, or what another system's address says, as it is."""
    if uri is None or uri == "":
        return str(_model_file(folder) or folder)
    if not isinstance(uri, str):
        raise ModelRejected(f"{where}: parameters.uri is {uri!r}, expected a string")
    address = urlparse(uri, scheme="file")
    if address.scheme != "file":
        return uri
    path = Path(os.path.normpath(folder / address.path))
    if not path.exists():
        raise ModelRejected(
            f"{where}: parameters.uri is {uri!r}, but there is no such file; found {_listing(folder)}"
        )
    return str(path)


def _wants_loop(settings: Mapping[str, object]) -> bool:
    parameters = settings.get("parameters")
    extra = parameters.get("extra") if isinstance(parameters, dict) else None
    return isinstance(extra, dict) and extra.get(_LOAD_ON_LOOP) is True


def _model_file(folder: Path) -> Path | None:
    for name in _WELL_KNOWN:
        if (folder / name).is_file():
            return folder / name
    try:
        candidates = [p for p in folder.iterdir() if p.suffix in _SUFFIXES and p.is_file()]
    except OSError:
        return None
    return candidates[0] if len(candidates) == 1 else None


def _version_folder(model: PreparedModel) -> Path:
    """The folder that the manifest's artifactVersion names; one written 3 is found as 003 too."""
    for folder in _version_folders(model.artifact):
        if int(folder.name) == int(model.version):
            return folder
    raise ModelRejected(
        f"model {model.name}: artifactVersion is {model.version}, but its artifact has no such folder; "
        f"found {_listing(model.artifact)}"
    )


def _version_folders(root: Path) -> list[Path]:
    """Folders named by a number, newest first."""
    numbered = [p for p in root.iterdir() if p.name.isdecimal() and p.is_dir()]
    return sorted(numbered, key=lambda p: int(p.name), reverse=True)


def _listing(root: Path) -> str:
    names = sorted(p.name + ("/" if p.is_dir() else "") for p in root.iterdir())
    if not names:
        return "nothing"
    more = f" and {len(names) - _SHOWN_FILES} more" if len(names) > _SHOWN_FILES else ""
    return ", ".join(names[:_SHOWN_FILES]) + more
