"""Finds a model's settings in O(1), however many models there are.

MLServer's own repository parses every settings file for each load, on the event loop (1.4 s at 1,000
models). Overbook's agent sends a model's settings with the call that loads it (`repository_calls`); whoever calls
MLServer's own load finds what lies in exactly ``ROOT/NAME/model-settings.json``. Both are MLServer's format plus
one key, ``overbook``: ``{"folder": where the model's own files are, "load_on_loop": bool}``.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from mlserver.errors import ModelNotFound
from mlserver.model import MLModel
from mlserver.repository import ModelRepository
from mlserver.settings import ModelParameters, ModelSettings
from pydantic import BaseModel

from overbook_mlserver.module_spaces import Space

# MLServer takes a model's files from beside this file, which need not exist.
_SETTINGS_FILE = "model-settings.json"


class _OnlyGiven(BaseModel):
    """Settings are what the file says. To look for each field in the environment, which the agent has cleared of
    them, and in dotenv files, or only to prepare for it, took nearly half of a small model's load, on the event loop.
    """

    def __init__(self, **given: Any) -> None:
        # Past what pydantic-settings does on the way.
        BaseModel.__init__(self, **given)


class _Parameters(_OnlyGiven, ModelParameters):
    """What MLServer calls so, as given."""


class IsolatedSettings(_OnlyGiven, ModelSettings):
    """Settings of one load of one model, whose Python files live in a `Space` of their own."""

    _space: Space | None = None
    _resolved: type[MLModel] | None = None
    _load_on_loop: bool = False

    @property
    def space(self) -> Space | None:
        return self._space

    @property
    def load_on_loop(self) -> bool:
        return self._load_on_loop

    @property
    def implementation(self) -> type[MLModel]:
        if self._resolved is None:
            self._resolved = self._resolve()
        return self._resolved

    @property
    def imported(self) -> bool:
        """Whether its class is there without an import, as that of every runtime of MLServer's own is."""
        return self._space is None and self.implementation_.rpartition(".")[0] in sys.modules

    def _resolve(self) -> type[MLModel]:
        module_name, _, class_name = self.implementation_.rpartition(".")
        if not module_name:
            raise ImportError(f"implementation {self.implementation_!r}: expected MODULE.CLASS")
        if self._space is not None and self._space.provides(module_name.partition(".")[0]):
            with self._space.active():
                module = self._space.import_module(module_name)
        else:
            module = importlib.import_module(module_name)
        found = getattr(module, class_name, None)
        if not isinstance(found, type):
            raise ImportError(
                f"implementation {self.implementation_!r}: no class {class_name} in {module_name}"
            )
        return found

    def forget(self) -> None:
        """The model is gone: drop its modules."""
        if self._space is not None:
            self._space.close()


_IMPORTABLE = (*importlib.machinery.all_suffixes(), ".zip", ".egg")


class FolderRepository(ModelRepository):
    """One settings file per model; lists only what the registry holds."""

    def __init__(self, root: str) -> None:
        self._root = os.path.abspath(root)
        self._registry: Any = None

    def attach(self, registry: Any) -> None:
        """The registry is made beside the repository, so it is handed in afterwards."""
        self._registry = registry

    async def list(self) -> Sequence[ModelSettings]:
        if self._registry is None:
            return []
        return [model.settings for model in await self._registry.get_models()]

    async def find(self, name: str) -> Sequence[ModelSettings]:
        if not name or name in (".", "..") or "/" in name or "\0" in name:
            raise ModelNotFound(name)
        return [given_settings(name, self._read(name))]

    def _read(self, name: str) -> dict[str, Any]:
        # About a kilobyte: not worth a thread.
        try:
            with open(os.path.join(self._root, name, _SETTINGS_FILE), encoding="utf-8") as file:
                found: dict[str, Any] = json.load(file)
        except (FileNotFoundError, NotADirectoryError):
            raise ModelNotFound(name) from None
        return found


def given_settings(name: str, raw: dict[str, Any]) -> IsolatedSettings:
    """Raises ValueError when they are not what MLServer takes."""
    ours = raw.pop("overbook", {})
    folder = ours.get("folder") or ""
    raw["name"] = name
    if folder:
        # MLServer resolves relative addresses against the folder of the settings file it believes in.
        raw["_source"] = os.path.join(folder, _SETTINGS_FILE)
    raw["parameters"] = _Parameters.model_validate(raw.get("parameters") or {})
    settings = IsolatedSettings.model_validate(raw)
    if not settings.parameters.uri:
        settings.parameters.uri = folder
    settings._load_on_loop = bool(ours.get("load_on_loop"))
    if folder and _has_code(folder):
        settings._space = Space(name, folder)
    return settings


def _has_code(folder: str) -> bool:
    """Whether an import could find anything there. Most models are data alone and need no space of their own,
    whose look-ups and cleaning up cost every load and unload some milliseconds of everybody's time.
    """
    with os.scandir(folder) as entries:
        return any(entry.is_dir() or entry.name.endswith(_IMPORTABLE) for entry in entries)
