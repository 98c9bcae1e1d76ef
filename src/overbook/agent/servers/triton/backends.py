"""Which backends a Triton has, and which files each of them loads, as data.

A Triton from PyPI has its Python backend and those that Overbook ships (`runtimes/triton/plugin/backends`); what
somebody else's Triton has is not known here, and its own answer to a load is the first that tells.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.agent.servers.formats import saved_model


@dataclass(frozen=True, slots=True)
class Backend:
    """``word``: the requirement that asks for it, and the runtime's extra that brings it.

    ``platforms``: what NVIDIA calls the formats it loads, ours first. ``filename``: of the model in its version
    folder, ``suffix``: of the only such file there, when it has another name.
    """

    name: str
    word: str
    platforms: tuple[str, ...]
    filename: str
    suffix: str

    def find(self, folder: Path) -> str | None:
        """The name of its model in the folder, "" when the folder itself is the model, None when there is none."""
        if self.is_model(folder / self.filename):
            return self.filename
        if self.name == "tensorflow" and self.is_model(folder):
            return ""
        fitting = [path.name for path in self._candidates(folder) if self.is_model(path)]
        return fitting[0] if len(fitting) == 1 else None

    def is_model(self, path: Path) -> bool:
        """Whether this is a model of its format, by the names of files."""
        if self.name == "tensorflow":
            return (path / saved_model.FILE).is_file()
        if self.name == "onnxruntime" and path.is_dir():
            return (path / self.filename).is_file()
        return path.is_file()

    def _candidates(self, folder: Path) -> Iterator[Path]:
        if self.name == "python" or not folder.is_dir():
            return
        for path in folder.iterdir():
            fits = path.suffix == self.suffix and not path.is_dir()
            # A SavedModel is a folder of any name; one named by a number is a version.
            is_folder = path.is_dir() and not path.name.isdecimal()
            if fits or (self.name == "tensorflow" and is_folder):
                yield path


ONNXRUNTIME: Final = Backend("onnxruntime", "onnx", ("onnxruntime_onnx",), "model.onnx", ".onnx")
TENSORFLOW: Final = Backend(
    "tensorflow", "tensorflow", ("tensorflow_savedmodel",), "model.savedmodel", ".savedmodel"
)
PYTORCH: Final = Backend("pytorch", "pytorch", ("pytorch_libtorch", "libtorch"), "model.pt", ".pt")
PYTHON: Final = Backend("python", "python", ("",), "model.py", ".py")
BACKENDS: Final = (ONNXRUNTIME, TENSORFLOW, PYTORCH, PYTHON)

# What NVIDIA's servers know as a platform and a Triton from PyPI cannot load.
FOREIGN_PLATFORMS: Final = {
    "tensorflow_graphdef": "tensorflow",
    "tensorrt_plan": "tensorrt",
    "torch_aoti": "pytorch",
}


@dataclass(frozen=True, slots=True)
class OnnxLimits:
    """The newest ONNX that an ONNX Runtime loads."""

    ir_version: int
    opset: int
    onnxruntime: str


# Of the onnxruntime that runtimes/triton/extras/onnx.lock pins; an integration test compares.
PINNED_ONNX: Final = OnnxLimits(ir_version=14, opset=28, onnxruntime="1.32.0")


@dataclass(frozen=True, slots=True)
class Backends:
    """What a Triton has. ``backends``: their names, None when nobody knows but the server.

    ``onnx``: limits of its ONNX Runtime, None when not known.
    """

    backends: frozenset[str] | None
    onnx: OnnxLimits | None = None

    @property
    def is_pip(self) -> bool:
        """Whether it is the Triton of our own runtime, whose backends are Python programs on the CPU."""
        return self.backends is not None


ANY: Final = Backends(backends=None)


def pip_offer(extras: Collection[str]) -> Backends:
    """Of the runtime `triton` with these extras installed."""
    names = {each.name for each in BACKENDS if each.word in extras} | {PYTHON.name}
    return Backends(frozenset(names), PINNED_ONNX if "onnx" in extras else None)


def backend_of(name: str, platform: str) -> Backend | None:
    """The backend that a configuration means; None when it is none of ours, or the configuration is silent."""
    for each in BACKENDS:
        if each.name == name or (not name and platform and platform in each.platforms):
            return each
    return None
