"""From an artifact's files to the settings that MLServer loads: which file, which class, from where.

Reads folders, writes nothing and talks to no server. Version slots are never used: under one name without
a version a load is a clean in-place update, with slots every request gets 400 meanwhile.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlparse

from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.onnx import read_onnx
from overbook.agent.servers.formats.reading import read_whole
from overbook.agent.servers.formats.tensors import TensorSpec
from overbook.agent.servers.mlserver import formats, overridden, requirements
from overbook.agent.servers.mlserver.formats import Ambiguous, Found
from overbook.agent.servers.protocol import ModelRejected, PreparedModel
from overbook.manifests.problems import shown

SETTINGS_FILE: Final = "model-settings.json"
_IMPLEMENTATION: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_SHOWN_FILES: Final = 8
# Of settings: bytes of the file, and objects and lists within each other.
_MOST_SETTINGS: Final = 1 << 20
_DEEPEST: Final = 64
_LOAD_ON_LOOP: Final = "overbook_load_on_loop"
_KNOWN: Final = 1000

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class ModelLayout:
    """Where a model's files are. ``settings``: the user's own file, or None for a plain artifact.

    ``found``: what a plain artifact is; None where there are settings.
    """

    folder: Path
    settings: Path | None
    found: Found | None


def find_layout(model: PreparedModel) -> ModelLayout:
    """Look at the artifact's files. Raises ModelRejected naming what was found and what was expected."""
    root = model.artifact
    if not root.is_dir():
        raise ModelRejected(
            f"model {model.name}: its artifact folder {root} does not exist", passing=True
        )
    folders = (_version_folder(model),) if model.version else (root, *_version_folders(root))
    for folder in folders:
        settings = folder / SETTINGS_FILE
        if settings.is_file():
            return ModelLayout(folder=folder, settings=settings, found=None)
        try:
            found = formats.detect(folder, model.requirements)
        except Ambiguous as error:
            raise ModelRejected(f"model {model.name}: {error}") from error
        if found is not None:
            return ModelLayout(folder=folder, settings=None, found=found)
    where = f" in its folder {model.version}" if model.version else ""
    raise ModelRejected(
        f"model {model.name}: no file that MLServer can load{where}; "
        f"found {_listing(folders[-1] if where else root)}; expected {SETTINGS_FILE}, or, at the top or in a "
        f"folder named by a version number, {formats.expected(model.requirements)}"
        f"{next(filter(None, map(formats.meant, folders)), '')}"
    )


def word(model: PreparedModel) -> str:
    """The requirement that names what a plain artifact is, "" where it has settings. Raises ModelRejected."""
    found = find_layout(model).found
    return "" if found is None else found.format.word


def server_settings(model: PreparedModel, extras: Collection[str] | None = None) -> Json:
    """The content of the settings file for the server. Raises ModelRejected with one line.

    ``extras``: those of the runtime that are installed; None when that is not known.
    """
    layout = find_layout(model)
    declared = _read(model.name, layout.settings) if layout.settings is not None else {}
    if layout.found is not None:
        settings: Json = {
            "implementation": layout.found.format.implementation,
            "parameters": {"uri": str(layout.found.path)},
        }
    else:
        settings = _own_settings(model, layout, declared)
    _add_parameters(model, settings)
    _check_installed(model.name, str(settings["implementation"]), extras)
    settings["name"] = model.name
    if versions := _versions(model, layout, declared):
        settings["versions"] = versions
    settings["overbook"] = {
        "folder": str(layout.folder),
        "load_on_loop": _wants_loop(settings),
    }
    return settings


class KnownSettings:
    """What `server_settings` said of models that were loaded of late: an artifact's files do not change unless they are
    damaged, and a look at them holds up the event loop. What is refused is looked at again.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[PreparedModel, Json] = OrderedDict()

    def find(self, model: PreparedModel) -> Mapping[str, object] | None:
        """None when it has to be looked at."""
        known = self._known.get(model)
        if known is not None:
            self._known.move_to_end(model)
        return known

    def keep(self, model: PreparedModel, settings: Json) -> None:
        self._known[model] = settings
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def forget(self, model: PreparedModel) -> None:
        """The server refused it: its files may be damaged, and will be fetched again."""
        self._known.pop(model, None)


def without_effect(model: PreparedModel) -> list[str]:
    """In words, which settings in its files Overbook overrides. Raises ModelRejected."""
    layout = find_layout(model)
    found: list[str] = []
    for folder in dict.fromkeys((layout.folder, model.artifact)):
        if (folder / overridden.SERVER_FILE).is_file():
            found.append(overridden.of_server(_read(model.name, folder / overridden.SERVER_FILE)))
    if layout.settings is not None:
        found += overridden.of_model(_read(model.name, layout.settings))
    return [each for each in found if each]


def check_packages(model: PreparedModel, python: Path) -> str:
    """What the environment of ``python`` lacks of the model's requirements.txt, in words; "" for nothing.

    Raises ModelRejected for a custom class that lacks something: the frameworks' own classes may well load a model that
    was saved with other versions.
    """
    layout = find_layout(model)
    try:
        missing = requirements.unmet(layout.folder, python)
    except (OSError, UnicodeDecodeError, FormatError) as error:
        missing = f"something unreadable: {error}"
    if not missing:
        return ""
    said = f"its {requirements.REQUIREMENTS_FILE} asks for {missing}"
    own = _read(model.name, layout.settings) if layout.settings is not None else {}
    if layout.found is not None or not formats.is_custom(str(own.get("implementation"))):
        return f"{said}; it is loaded with what there is"
    raise ModelRejected(
        f"model {model.name}: {said}; all models of a server share its packages: run it on a Server with an "
        "environment that has them (docs/runtimes.md), put pure-Python ones into the model's folder "
        "(pip install --target), or ask for what the runtime has (overbook runtime list)"
    )


def static_metadata(model: PreparedModel) -> Json:
    """OIP metadata as the files tell it, in the shape of MLServer's own answer. Raises ModelRejected."""
    layout = find_layout(model)
    if layout.found is not None and layout.found.format.word == "onnx":
        versions = _versions(model, layout, {})
        return {
            "name": model.name,
            "versions": versions,
            "platform": "",
            **_onnx_tensors(layout.found),
        }
    own = _read(model.name, layout.settings) if layout.settings is not None else {}
    parameters: Json = {}
    declared = own.get("parameters")
    if isinstance(declared, dict) and declared.get("content_type"):
        parameters["content_type"] = declared["content_type"]
    return {
        "name": model.name,
        "versions": _versions(model, layout, own),
        "platform": own.get("platform") or "",
        "inputs": own.get("inputs") or [],
        "outputs": own.get("outputs") or [],
        "parameters": parameters,
    }


def _onnx_tensors(found: Found) -> Json:
    """As the class that serves it will say; nothing where the file cannot be read: its load tells why."""
    try:
        read = read_onnx(found.path)
    except (FormatError, OSError):
        return {"inputs": [], "outputs": [], "parameters": {}}
    return {
        "inputs": _metadata(read.inputs),
        "outputs": _metadata(read.outputs),
        "parameters": {},
    }


def _metadata(tensors: Iterable[TensorSpec]) -> list[Json]:
    return [
        {
            "name": tensor.name,
            "datatype": tensor.data_type.removeprefix("TYPE_").replace("STRING", "BYTES"),
            "shape": list(tensor.dims or ()),
        }
        for tensor in tensors
        # BF16 is a type that MLServer does not know.
        if not tensor.trouble and tensor.data_type != "TYPE_BF16"
    ]


def _check_installed(name: str, implementation: str, extras: Collection[str] | None) -> None:
    extra = formats.extra_of(implementation)
    if extras is None or extra is None or extra in extras:
        return
    raise ModelRejected(
        f"model {name}: it needs {extra} ({implementation}), which this server does not have; give its Server "
        f"extraCapabilities: [{extra}] and the model requirements: [{extra}], or run: "
        f"overbook runtime install mlserver --with {extra}"
    )


def _own_settings(model: PreparedModel, layout: ModelLayout, settings: Json) -> Json:
    where = f"model {model.name}: {SETTINGS_FILE}"
    implementation = settings.get("implementation")
    if not isinstance(implementation, str) or not _IMPLEMENTATION.fullmatch(implementation):
        raise ModelRejected(
            f"{where}: implementation is {shown(implementation)}, expected MODULE.CLASS "
            f"such as {formats.SKLEARN.implementation!r}"
        )
    parameters = settings.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise ModelRejected(f"{where}: parameters is {shown(parameters)}, expected an object")
    for field in ("environment_tarball", "environment_path"):
        if parameters.get(field):
            raise ModelRejected(
                f"{where}: parameters.{field} is not supported, as it needs MLServer's parallel "
                "workers; give the packages to a Server instead, by its environment (docs/runtimes.md)"
            )
    kept = {key: value for key, value in parameters.items() if key != "version"}
    kept["uri"] = _resolved_uri(where, model, layout.folder, kept.get("uri"))
    return {**settings, "parameters": kept}


def _add_parameters(model: PreparedModel, settings: Json) -> None:
    """What the manifest tells the model's class; it goes before what its own file says."""
    parameters = settings["parameters"]
    if not model.parameters or not isinstance(parameters, dict):
        return
    own = parameters.get("extra") or {}
    if not isinstance(own, dict):
        raise ModelRejected(
            f"model {model.name}: {SETTINGS_FILE}: parameters.extra is {shown(own)}, expected an object"
        )
    parameters["extra"] = {**own, **dict(model.parameters)}


def _versions(model: PreparedModel, layout: ModelLayout, own: Mapping[str, object]) -> list[str]:
    """What requests may call the version of this model, by its settings and its folder: the server has no slots for
    versions.
    """
    listed, parameters = own.get("versions"), own.get("parameters")
    named = parameters.get("version") if isinstance(parameters, dict) else None
    folder = [str(int(layout.folder.name))] if layout.folder != model.artifact else []
    known = [
        *(listed if isinstance(listed, list) else ()),
        *([] if named is None else [named]),
        *folder,
    ]
    return list(dict.fromkeys(str(each) for each in known))


def _read(name: str, path: Path) -> Json:
    where = f"model {name}: {path.name}"
    too_deep = f"{where} is nested more than {_DEEPEST} deep, expected less"
    try:
        found = json.loads(read_whole(path, _MOST_SETTINGS).decode())
    except RecursionError as error:
        raise ModelRejected(too_deep) from error
    except (OSError, ValueError, FormatError) as error:
        raise ModelRejected(f"{where} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ModelRejected(f"{where} is {type(found).__name__}, expected an object")
    if not _shallow(found, _DEEPEST):
        raise ModelRejected(too_deep)
    return found


def _shallow(value: object, deepest: int) -> bool:
    """What is deeper than this, others that get it may not be able to write or read."""
    inner: Iterable[object] = ()
    if isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list):
        inner = value
    return deepest > 0 and all(_shallow(each, deepest - 1) for each in inner)


def _resolved_uri(where: str, model: PreparedModel, folder: Path, uri: object) -> str:
    """An absolute path inside the artifact, or what another system's address says, as it is."""
    if uri is None or uri == "":
        try:
            found = formats.detect(folder, model.requirements)
        except Ambiguous:
            # Its class knows which file it wants.
            found = None
        return str(found.path if found is not None else folder)
    if not isinstance(uri, str):
        raise ModelRejected(f"{where}: parameters.uri is {shown(uri)}, expected a string")
    try:
        address = urlparse(uri, scheme="file")
        if address.scheme != "file":
            return uri
        path = Path(os.path.normpath(folder / address.path))
        mode = path.stat().st_mode
    # Of text that can be no address or no path: too long, with a zero byte, half of a surrogate pair.
    except (ValueError, OSError) as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else _why(error)
        raise ModelRejected(
            f"{where}: parameters.uri is {shown(uri)}, but {why}; found {_listing(folder)}"
        ) from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ModelRejected(
            f"{where}: parameters.uri is {shown(uri)}, which is a device, pipe or socket; expected a file or folder"
        )
    return str(path)


def _why(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) else str(error)
    return f"that cannot be a file: {said}"


def _wants_loop(settings: Mapping[str, object]) -> bool:
    parameters = settings.get("parameters")
    extra = parameters.get("extra") if isinstance(parameters, dict) else None
    return isinstance(extra, dict) and extra.get(_LOAD_ON_LOOP) is True


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
