"""Modules of the launchers that run here too, without the runtime that they launch."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from overbook.runtimes.catalogue import runtime


def plugin_module(name: str, file: str) -> ModuleType:
    """A new module of that runtime's plugin; ``file`` is below its folder."""
    plugin = runtime(name).plugin
    path = plugin / file
    if str(plugin) not in sys.path:
        sys.path.append(str(plugin))  # for what it imports of its own package
    spec = importlib.util.spec_from_file_location(f"overbook_{name}_{Path(file).stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
