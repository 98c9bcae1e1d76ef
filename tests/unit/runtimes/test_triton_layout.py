"""The part of Triton's launcher that looks at its environment. Standard library only, so it runs here too."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.runtimes.plugins import plugin_module

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def layout() -> ModuleType:
    return plugin_module("triton", "overbook_triton/layout.py")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with what matters of nvidia-pytriton."""
    triton = tmp_path / "site" / "pytriton" / "tritonserver"
    for version in ("3.8", VERSION):
        stub = triton / "python_backend_stubs" / version / "triton_python_backend_stub"
        stub.parent.mkdir(parents=True)
        stub.write_text("a program")
        stub.chmod(0o644)
    backend = triton / "backends" / "python"
    backend.mkdir(parents=True)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        (backend / name).write_text("")
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path / "site"))
    library = tmp_path / "lib" / f"libpython{VERSION}.so.1.0"
    library.parent.mkdir()
    library.write_text("")
    monkeypatch.setattr("sysconfig.get_config_var", lambda _: str(tmp_path / "lib"))
    return tmp_path


def test_the_interpreters_own_libpython_comes_first(layout: ModuleType, packages: Path) -> None:
    found = layout.find()
    assert found.stub.parent.name == VERSION
    assert found.libraries == (packages / "site" / "nvidia_pytriton.libs", packages / "lib")


def test_without_libpython_anywhere_it_says_what_to_install(
    layout: ModuleType, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (packages / "lib" / f"libpython{VERSION}.so.1.0").unlink()
    monkeypatch.setattr(sys, "base_prefix", str(packages))

    def missing(_: str) -> None:
        raise OSError("no such file")

    monkeypatch.setattr("ctypes.CDLL", missing)
    with pytest.raises(layout.NotUsable, match=f"apt-get install libpython{VERSION}"):
        layout.find()
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert layout.find().libraries == (packages / "site" / "nvidia_pytriton.libs",)


def test_a_python_without_a_stub_is_refused(
    layout: ModuleType, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = layout.find().stub
    stub.unlink()
    with pytest.raises(layout.NotUsable, match=f"no stub for Python {VERSION}"):
        layout.find()


def test_the_backend_directory_is_made_anew(
    layout: ModuleType, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (packages / "work").mkdir()
    monkeypatch.chdir(packages / "work")
    left = Path("backends") / "left"
    left.mkdir(parents=True)
    layout.make_backends(layout.find(), "backends")
    assert not left.exists()
    stub = Path("backends/python/triton_python_backend_stub")
    assert stub.read_text() == "a program"
    assert stub.stat().st_mode & 0o111
    assert Path("backends/python/libtriton_python.so").is_file()
    assert Path("backends/onnxruntime/model.py").is_file()


def test_stubs_get_this_environment_and_keep_what_was_there(
    layout: ModuleType, packages: Path
) -> None:
    inherited = {"PATH": "/bin", "LD_LIBRARY_PATH": "/opt/lib", "HOME": "/h"}
    made = layout.environment(layout.find(), inherited)
    assert made["PATH"] == f"{sys.prefix}/bin:/bin"
    assert made["LD_LIBRARY_PATH"].endswith(":/opt/lib")
    assert made["VIRTUAL_ENV"] == sys.prefix
    assert made["HOME"] == "/h"
    assert "" not in layout.environment(layout.find(), {})["LD_LIBRARY_PATH"].split(":")
