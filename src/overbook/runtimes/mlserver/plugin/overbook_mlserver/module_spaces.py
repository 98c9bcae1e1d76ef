"""Keeps the Python files of models apart: two artifacts that both ship ``model.py`` do not collide.

Theory of operation
-------------------
Plain MLServer puts a model's folder on ``sys.path`` for a moment, imports ``model`` and reloads it: the
second model that ships a ``model.py`` replaces the first one's module, and its pickles and late imports.

Here the files of each loaded model are modules of a package of their own, ``_overbook_models.NAME_7``,
whose ``__path__`` is the model's folder. Three doors lead to such modules, and each looks first at what
the folder provides, as if it were first on ``sys.path``:

- ``import`` statements: the *importing module's* globals tell which package it belongs to. That works
  at load time, at prediction time and from any thread. This door is there while there are such models:
  frameworks import in the midst of predictions, and looking at each costs all models.
- ``importlib.import_module`` and unpickling, which carry no globals: a context variable that is set
  while the model's class is imported and its ``load`` runs. A pickle that says ``model.Thing`` gets the
  ``Thing`` of its own model. Covered: ``pickle``, ``joblib`` and whatever builds on ``pickle``'s classes.

Tried and dropped: swapping entries of ``sys.modules`` under a lock. It serialises all loads of models
with code (one that hangs stops the others) and leaves imports inside ``predict`` to chance.

``install`` must run before other modules bind ``pickle.load``.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import itertools
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

_ROOT = "_overbook_models"
_numbers = itertools.count(1)
_spaces: dict[str, Space] = {}
_current: ContextVar[Space | None] = ContextVar("overbook_space", default=None)

_plain_import = builtins.__import__
_plain_import_module = importlib.import_module


class Space:
    """The Python files of one load of one model. ``close`` forgets the modules; live objects keep working."""

    def __init__(self, name: str, folder: str) -> None:
        self.folder = folder
        self._key = f"{''.join(c if c.isalnum() else '_' for c in name)}_{next(_numbers)}"
        self._package = f"{_ROOT}.{self._key}"
        self._provided: dict[str, bool] = {}
        package = ModuleType(self._package)
        package.__path__ = [folder]
        sys.modules[self._package] = package
        _spaces[self._key] = self
        builtins.__import__ = _import

    def provides(self, top: str) -> bool:
        """Whether the folder has a module or package of this name, as ``sys.path[0]`` would find it."""
        known = self._provided.get(top)
        if known is None:
            spec = PathFinder.find_spec(top, [self.folder])
            # A folder without __init__.py counts only where nothing else has the name: Python's own rule.
            known = spec is not None and (spec.loader is not None or not _exists(top))
            self._provided[top] = known
        return known

    def import_module(self, name: str) -> ModuleType:
        return _plain_import_module(f"{self._package}.{name}")

    def qualified(self, name: str) -> str:
        return f"{self._package}.{name}"

    @contextmanager
    def active(self) -> Iterator[None]:
        """While this runs, unpickling and dynamic imports look into this folder first."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def close(self) -> None:
        _spaces.pop(self._key, None)
        if not _spaces:
            builtins.__import__ = _plain_import
        inside = self._package + "."
        sys.modules.pop(self._package, None)
        # Copies, made at once: other threads import meanwhile, for the loads of other models.
        for name in list(sys.modules):
            if name.startswith(inside):
                sys.modules.pop(name, None)
        for path in list(sys.path_importer_cache):
            if path.startswith(self.folder):
                sys.path_importer_cache.pop(path, None)


def install() -> None:
    """Open the doors of `importlib` and `pickle`. Once, at the start of the process."""
    root = ModuleType(_ROOT)
    root.__path__ = []
    sys.modules[_ROOT] = root
    importlib.import_module = _import_module
    _install_unpickling()


def _exists(top: str) -> bool:
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def _top(name: str) -> str:
    return name.partition(".")[0]


def _import(
    name: str,
    globals: Any = None,
    locals: Any = None,
    fromlist: Any = (),
    level: int = 0,
) -> ModuleType:
    if level == 0 and globals is not None:
        importer = globals.get("__name__")
        if type(importer) is str and importer.startswith("_overbook_models."):
            space = _spaces.get(importer.split(".", 2)[1])
            if space is not None and space.provides(_top(name)):
                module = _plain_import(space.qualified(name), globals, locals, fromlist, 0)
                # Without a fromlist, ``import a.b`` binds ``a``.
                return module if fromlist else sys.modules[space.qualified(_top(name))]
    return _plain_import(name, globals, locals, fromlist, level)


def _import_module(name: str, package: str | None = None) -> ModuleType:
    space = _current.get()
    if space is not None and not name.startswith(".") and space.provides(_top(name)):
        return space.import_module(name)
    return _plain_import_module(name, package)


def _redirected(module: str) -> str:
    space = _current.get()
    if space is not None and space.provides(_top(module)):
        return space.qualified(module)
    return module


def _install_unpickling() -> None:
    compiled = pickle.Unpickler
    interpreted = pickle._Unpickler
    plain_find_class = interpreted.find_class
    plain_load, plain_loads = pickle.load, pickle.loads

    def find_class(self: Any, module: str, name: str) -> Any:
        return plain_find_class(self, _redirected(module), name)

    class Unpickler(compiled):  # type: ignore[misc, valid-type]
        def find_class(self, module: str, name: str) -> Any:
            return super().find_class(_redirected(module), name)

    def load(file: Any, **options: Any) -> Any:
        if _current.get() is None:
            return plain_load(file, **options)
        return Unpickler(file, **options).load()

    def loads(data: Any, /, **options: Any) -> Any:
        if _current.get() is None:
            return plain_loads(data, **options)
        import io

        return Unpickler(io.BytesIO(data), **options).load()

    interpreted.find_class = find_class
    pickle.Unpickler = Unpickler
    pickle.load = load
    pickle.loads = loads
