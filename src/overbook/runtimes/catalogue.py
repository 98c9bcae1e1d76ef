"""Which runtimes there are, as data: what they offer and where their pinned requirements and plugins lie.

No environment is made or looked for here; see `install`.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent


class UnknownRuntime(Exception):
    """No runtime has this name. The message lists those there are."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """An inference server as Overbook ships it.

    ``capabilities``: what a model's ``requirements`` may name when this runtime serves it.
    ``packages``: the packages a person would ask about, pinned in ``lock``.
    ``plugin``: our code for inside its environment, for ``PYTHONPATH``; never imported by us.
    """

    name: str
    capabilities: tuple[str, ...]
    packages: tuple[str, ...]
    lock: Path
    plugin: Path

    def pinned(self) -> tuple[str, ...]:
        """``name==version`` of each of ``packages``, as the lock file says."""
        pins: dict[str, str] = {}
        for line in self.lock.read_text(encoding="utf-8").splitlines():
            name, separator, rest = line.partition("==")
            if separator and not line.startswith(" "):
                pins[name] = rest.split()[0]
        return tuple(f"{name}=={pins[name]}" for name in self.packages if name in pins)

    def folder_name(self) -> str:
        """Changes whenever another environment is needed: other pins or another Python."""
        digest = hashlib.sha256(self.lock.read_bytes()).hexdigest()[:16]
        return f"{self.name}-{digest}-py{sys.version_info.major}.{sys.version_info.minor}"


RUNTIMES: Final[tuple[Runtime, ...]] = (
    Runtime(
        name="mlserver",
        capabilities=("mlserver", "sklearn", "python"),
        packages=("mlserver", "mlserver-sklearn", "scikit-learn"),
        lock=_HERE / "mlserver" / "requirements.lock",
        plugin=_HERE / "mlserver" / "plugin",
    ),
)


def runtime(name: str) -> Runtime:
    """The runtime of this name. Raises UnknownRuntime."""
    for known in RUNTIMES:
        if known.name == name:
            return known
    names = ", ".join(known.name for known in RUNTIMES)
    raise UnknownRuntime(f"runtime {name!r} is unknown; expected one of: {names}")


def capabilities(name: str) -> tuple[str, ...]:
    """What models may require of the runtime. Raises UnknownRuntime."""
    return runtime(name).capabilities
