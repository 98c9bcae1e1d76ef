"""Python files of models are kept apart, for as long as there are such models."""

from __future__ import annotations

import builtins
import itertools
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.runtimes.plugins import plugin_module

SPACES = plugin_module("mlserver", "overbook_mlserver/module_spaces.py")
_MODEL = """
def told():
    import helper
    return helper.NAME
"""


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """What `install` makes, without its doors into this process's `pickle` and `importlib`."""
    package = ModuleType(SPACES._ROOT)
    package.__path__ = []
    sys.modules[SPACES._ROOT] = package
    yield
    del sys.modules[SPACES._ROOT]


def _space(folder: Path, name: str) -> Any:
    home = folder / name
    home.mkdir()
    (home / "model.py").write_text(_MODEL)
    (home / "helper.py").write_text(f"NAME = {name!r}\n")
    return SPACES.Space(name, str(home))


def test_late_imports_find_the_files_of_their_own_model(tmp_path: Path) -> None:
    one, two = _space(tmp_path, "one"), _space(tmp_path, "two")
    models = [space.import_module("model") for space in (one, two)]
    try:
        assert [model.told() for model in models] == ["one", "two"]
        one.close()
        assert models[1].told() == "two"
        import json  # what is nobody's is found as ever

        assert json.loads("1") == 1
    finally:
        for space in (one, two):
            space.close()
    assert "model" not in sys.modules
    assert "helper" not in sys.modules


def test_imports_are_looked_at_only_while_there_are_such_models(tmp_path: Path) -> None:
    plain = builtins.__import__
    one, two = _space(tmp_path, "one"), _space(tmp_path, "two")
    assert builtins.__import__ is not plain
    one.close()
    assert builtins.__import__ is not plain
    two.close()
    two.close()
    assert builtins.__import__ is plain
    assert not [name for name in sys.modules if name.startswith(f"{SPACES._ROOT}.")]


def test_others_may_import_while_a_space_is_closed(tmp_path: Path) -> None:
    spaces = [_space(tmp_path, f"m{number}") for number in range(200)]
    over = threading.Event()

    def imports() -> None:
        for number in itertools.cycle(range(1_000)):
            if over.is_set():
                return
            sys.modules[f"_elsewhere_{number}"] = ModuleType("elsewhere")
            sys.path_importer_cache[f"/elsewhere/{number}"] = None
            if number == 999:
                for each in range(1_000):
                    del (
                        sys.modules[f"_elsewhere_{each}"],
                        sys.path_importer_cache[f"/elsewhere/{each}"],
                    )

    before, importing = sys.getswitchinterval(), threading.Thread(target=imports)
    sys.setswitchinterval(1e-6)
    importing.start()
    try:
        for space in spaces:
            space.close()
    finally:
        over.set()
        importing.join()
        sys.setswitchinterval(before)
        for number in range(1_000):
            sys.modules.pop(f"_elsewhere_{number}", None)
            sys.path_importer_cache.pop(f"/elsewhere/{number}", None)
