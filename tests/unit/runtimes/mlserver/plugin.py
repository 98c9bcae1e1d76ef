"""Modules of the launcher that run without MLServer."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import overbook.runtimes

_PLUGIN = Path(overbook.runtimes.__file__).parent / "mlserver/plugin/overbook_mlserver"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"plugin_{name}", _PLUGIN / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
