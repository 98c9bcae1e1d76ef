"""Which runtimes there are, as data: what they offer, their extras, and where pins and plugins lie.

No environment is made or looked for here; see `install`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.runtimes.installed import pinned

_HERE: Final = Path(__file__).parent


class UnknownRuntime(Exception):
    """No runtime has this name. The message lists those there are."""


class UnknownExtra(UnknownRuntime):
    """The runtime has no extra of this name. The message lists those it has."""


@dataclass(frozen=True, slots=True)
class Extra:
    """Packages that a runtime's environment can have besides its own, and what models may then require.

    ``lock``: what it adds to the runtime's own pins, every package with its hashes. All extras of a runtime fit
    together, as they were resolved together (see `make lock`).
    ``default``: part of every environment of the runtime.
    """

    name: str
    capabilities: tuple[str, ...]
    packages: tuple[str, ...]
    lock: Path
    default: bool = False


@dataclass(frozen=True, slots=True)
class Runtime:
    """An inference server as Overbook ships it.

    ``capabilities``: what a model's ``requirements`` may name when this runtime serves it, without any extra.
    ``packages``: the packages a person would ask about, pinned in ``lock``.
    ``plugin``: our code for inside its environment, for ``PYTHONPATH``; never imported by us.
    ``withheld``: names that people will look for among the extras, and why they are not there.
    ``server``: the package that the server itself is; others of the server's begin with its name. ``alone``: it is
    installed without what it asks for. ``excludes``: a file with names of packages that nobody shall get. ``imports``:
    modules without which it does not start.
    """

    name: str
    capabilities: tuple[str, ...]
    packages: tuple[str, ...]
    lock: Path
    plugin: Path
    extras: tuple[Extra, ...] = ()
    withheld: tuple[tuple[str, str], ...] = ()
    server: str = ""
    alone: bool = False
    excludes: Path | None = None
    imports: tuple[str, ...] = ()

    def is_server(self, package: str) -> bool:
        """Whether the package is of the server itself, which our plugin is written for in one version."""
        return package == self.server or package.startswith(f"{self.server}-")

    def default_extras(self) -> frozenset[str]:
        return frozenset(extra.name for extra in self.extras if extra.default)

    def chosen(self, names: Iterable[str]) -> tuple[Extra, ...]:
        """The extras of these names, in the order of the catalogue. Raises UnknownExtra."""
        wanted = set(names)
        unknown = wanted - {extra.name for extra in self.extras}
        if unknown:
            for name, reason in self.withheld:
                if name in unknown:
                    raise UnknownExtra(f"runtime {self.name!r} has no extra {name!r}: {reason}")
            known = ", ".join(extra.name for extra in self.extras) or "none"
            raise UnknownExtra(
                f"runtime {self.name!r} has no extra {min(unknown)!r}; expected one of: {known}"
            )
        return tuple(extra for extra in self.extras if extra.name in wanted)

    def extras_for(self, words: Iterable[str]) -> frozenset[str]:
        """The extras that offer these requirement words; words that none offers are left out."""
        wanted = set(words)
        return frozenset(extra.name for extra in self.extras if wanted & set(extra.capabilities))

    def offers(self, extras: Iterable[str]) -> tuple[str, ...]:
        """What models may require of an environment with these extras. Raises UnknownExtra."""
        added = (word for extra in self.chosen(extras) for word in extra.capabilities)
        return tuple(dict.fromkeys((*self.capabilities, *added)))

    def locks(self, extras: Iterable[str]) -> tuple[Path, ...]:
        """The lock files of an environment with these extras. Raises UnknownExtra."""
        return (self.lock, *(extra.lock for extra in self.chosen(extras)))

    def asked_about(self, extras: Iterable[str] = ()) -> tuple[str, ...]:
        """Names of the packages that a person would ask about. Raises UnknownExtra."""
        return (*self.packages, *(name for each in self.chosen(extras) for name in each.packages))

    def pinned(self, extras: Iterable[str] = ()) -> tuple[str, ...]:
        """``name==version`` of the packages a person would ask about, as the lock files say for this machine."""
        return with_versions(self.asked_about(extras), self.pins(extras))

    def pins(self, extras: Iterable[str] = ()) -> dict[str, str]:
        """Names and versions of all that an environment with these extras gets on this machine. Raises UnknownExtra."""
        return pinned(self.locks(extras))

    def folder_name(self, extras: Iterable[str] = ()) -> str:
        """Changes whenever another environment is needed: other pins, other extras or another Python."""
        digest = hashlib.sha256()
        for lock in self.locks(extras):
            digest.update(lock.read_bytes())
        python = f"py{sys.version_info.major}.{sys.version_info.minor}"
        return f"{self.name}-{digest.hexdigest()[:16]}-{python}"


def with_versions(names: Iterable[str], versions: Mapping[str, str]) -> tuple[str, ...]:
    """``name==version`` of each name that there is a version of."""
    return tuple(f"{name}=={versions[name]}" for name in names if name in versions)


def _extra(runtime: str, name: str, *packages: str, default: bool = False) -> Extra:
    lock = _HERE / runtime / "extras" / f"{name}.lock"
    return Extra(name, capabilities=(name,), packages=packages, lock=lock, default=default)


RUNTIMES: Final[tuple[Runtime, ...]] = (
    Runtime(
        name="mlserver",
        capabilities=("mlserver", "sklearn", "python"),
        packages=(
            *("mlserver", "mlserver-sklearn", "scikit-learn"),
            *("numpy", "pandas", "scipy", "joblib"),
        ),
        lock=_HERE / "mlserver" / "requirements.lock",
        plugin=_HERE / "mlserver" / "plugin",
        server="mlserver",
        excludes=_HERE / "mlserver" / "extras" / "excludes.txt",
        imports=("mlserver", "mlserver_sklearn", "pandas", "psutil", "uvloop", "httptools"),
        extras=(
            _extra("mlserver", "onnx", "onnxruntime", default=True),
            _extra("mlserver", "xgboost", "mlserver-xgboost", "xgboost-cpu"),
            _extra("mlserver", "lightgbm", "mlserver-lightgbm", "lightgbm"),
            _extra("mlserver", "catboost", "mlserver-catboost", "catboost"),
            _extra("mlserver", "mlflow", "mlserver-mlflow", "mlflow"),
        ),
        withheld=(
            (
                "huggingface",
                "MLServer's runtime for it needs TensorFlow and an older PyTorch, of which package indexes have the "
                "GPU build of several GB; export the model to ONNX (docs/hugging-face.md), or attach a server that "
                "has it",
            ),
        ),
    ),
    Runtime(
        name="triton",
        capabilities=("triton", "python"),
        packages=("nvidia-pytriton", "numpy"),
        lock=_HERE / "triton" / "requirements.lock",
        plugin=_HERE / "triton" / "plugin",
        server="nvidia-pytriton",
        alone=True,
        imports=("numpy",),
        extras=(
            _extra("triton", "onnx", "onnxruntime", default=True),
            _extra("triton", "tensorflow", "tensorflow-cpu", "tensorflow", default=True),
            _extra("triton", "pytorch", "torch"),
        ),
    ),
)


def runtime(name: str) -> Runtime:
    """The runtime of this name. Raises UnknownRuntime."""
    for known in RUNTIMES:
        if known.name == name:
            return known
    names = ", ".join(known.name for known in RUNTIMES)
    raise UnknownRuntime(f"runtime {name!r} is unknown; expected one of: {names}")
