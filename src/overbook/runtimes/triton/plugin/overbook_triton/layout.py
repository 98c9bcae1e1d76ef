"""Where things are in the environment, and what tritonserver needs around it. No process is started here."""

from __future__ import annotations

import compileall
import ctypes
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SEGMENTS = Path("/dev/shm")
_PYTHON_BACKEND = ("libtriton_python.so", "triton_python_backend_utils.py")
_STUB = "triton_python_backend_stub"


class NotUsable(Exception):
    """Triton cannot run here. One line: what is missing and what to do."""


@dataclass(frozen=True)
class Installed:
    """``libraries``: folders that the dynamic linker needs. ``backends``: ours, written in Python."""

    server: Path
    python_backend: Path
    stub: Path
    libraries: tuple[Path, ...]
    backends: Path


def find() -> Installed:
    """Look at the environment this runs in. Raises NotUsable."""
    packages = Path(sysconfig.get_path("purelib"))
    triton = packages / "pytriton" / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = triton / "python_backend_stubs" / version / _STUB
    if not stub.is_file():
        known = sorted(path.name for path in stub.parent.parent.glob("*"))
        raise NotUsable(
            f"Triton's Python backend has no stub for Python {version}; "
            f"run Overbook with one of: {', '.join(known) or 'none found'}"
        )
    return Installed(
        server=triton / "bin" / "tritonserver",
        python_backend=triton / "backends" / "python",
        stub=stub,
        libraries=(packages / "nvidia_pytriton.libs", *_libpython(version)),
        backends=Path(__file__).parent.parent / "backends",
    )


def _libpython(version: str) -> tuple[Path, ...]:
    """The folder of libpython that stubs link to, unless the linker finds it by itself. Raises NotUsable."""
    name = f"libpython{version}.so.1.0"
    # The interpreter's own first: another one of the same version may find another standard library.
    own = Path(sysconfig.get_config_var("LIBDIR") or "/nonexistent")
    for folder in (own, Path(sys.base_prefix) / "lib"):
        if (folder / name).is_file():
            return (folder,)
    try:
        ctypes.CDLL(name)
    except OSError:
        raise NotUsable(
            f"Triton's Python backend needs {name}, which this Python was built without; install it "
            f"(Debian: apt-get install libpython{version}) or run Overbook with a Python that has it"
        ) from None
    return ()


def make_backends(installed: Installed, folder: str) -> None:
    """A backend directory below the working folder: Triton's Python backend, and ours beside it."""
    root = Path(folder)
    shutil.rmtree(root, ignore_errors=True)
    python = root / "python"
    python.mkdir(parents=True)
    # Copies: a backend whose library lies outside its folder is refused, and wheels carry no permission to execute.
    for name in _PYTHON_BACKEND:
        shutil.copyfile(installed.python_backend / name, python / name)
    shutil.copyfile(installed.stub, python / _STUB)
    (python / _STUB).chmod(0o700)
    if installed.backends.is_dir():
        for backend in installed.backends.iterdir():
            if backend.is_dir():
                shutil.copytree(backend, root / backend.name)
        # Every load of a model imports them, and no stub writes bytecode.
        compileall.compile_dir(root, quiet=2)
    # They came with the modes that they are installed with.
    for path in root.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)


def environment(installed: Installed, inherited: Mapping[str, str]) -> dict[str, str]:
    """What stubs need to be this environment's Python, with its libraries."""
    libraries = [str(folder) for folder in installed.libraries]
    libraries += [part for part in (inherited.get("LD_LIBRARY_PATH"),) if part]
    return {
        **inherited,
        "VIRTUAL_ENV": sys.prefix,
        "PATH": os.pathsep.join((f"{sys.prefix}/bin", inherited.get("PATH", os.defpath))),
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        # Models' folders are shared and read-only to us: their code must not grow a __pycache__ there.
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def remove_segments(prefix: str) -> None:
    """Remove shared memory that a server which was killed left behind."""
    for path in _SEGMENTS.glob(f"{prefix}*"):
        path.unlink(missing_ok=True)
