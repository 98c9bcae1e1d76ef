"""What a model will take in memory before anybody measured it: from its artifact, and from how it is served. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

# What an artifact becomes in memory, by experience with pickled estimators.
FACTOR: Final = 1.2
# What it seldom exceeds: for the moment at which it is loaded for the first time.
CAUTIOUS: Final = 1.5
# A ledger entry of nothing would let any number of models in.
SMALLEST: Final = 4096


@dataclass(frozen=True, slots=True)
class Guess:
    """``own_process``: bytes of the process that a model of this requirement gets, without the model."""

    own_process: Mapping[str, int] = field(default_factory=dict)

    def bytes(self, artifact: int, requirements: Iterable[str], factor: float = FACTOR) -> int:
        """Of a model whose files have ``artifact`` bytes, each of which becomes ``factor`` in memory."""
        return max(SMALLEST, int(artifact * factor)) + self.process(requirements)

    def process(self, requirements: Iterable[str]) -> int:
        """Bytes of the process that the model gets; 0 where it shares one."""
        requirements = tuple(requirements)
        floors = [self.own_process[word] for word in requirements if word in self.own_process]
        if not floors and self.own_process:
            # It does not say what it is, and it will be one of these.
            floors = [min(self.own_process.values())]
        return max(floors, default=0)
