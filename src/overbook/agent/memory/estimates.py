"""From what was measured to what is charged. Pure: numbers in, numbers out.

Theory of operation. In a process that all models share nobody can tell by looking at it what one of them takes: a load
leaves garbage, fills the holes that others left, and imports what then stays. So the word of a fresh process counts
(`Weight`), where one can be had. What the model allocated only later, at its first requests, shows when nobody else is
asked meanwhile, and when it leaves: two returns in a row that were clearly larger say by how much it has grown, and two
that were not say that it has not, whatever was seen before. What is out of all proportion is believed when it was seen
twice.

Where there is no weight, loads and returns that were seen alone have to do: the loads' 95th percentile (a single
sample far from the others is left out), and where much less came back, something between. What a server says of a
process that a model has for itself is a load, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median
from typing import Final

from overbook.agent.guesses import SMALLEST
from overbook.agent.kinds import ArtifactKind
from overbook.agent.servers.protocol import Weight

KEPT: Final = 16
# Less than this cannot be told from the server's own comings and goings.
NOISE: Final = 1 << 20
# Nor less than this share of a model.
_RESOLUTION: Final = 0.02
# A model has grown when so many returns in a row exceeded its size by more than this, in bytes and as a share of it.
_GROWN_TIMES: Final = 2
_GROWN: Final = 256 << 10
_GROWN_SHARE: Final = 0.05
# Growth to so many times the size, and by so many bytes more, has to be seen twice.
_ODD: Final = 8
_ODD_BYTES: Final = 16 << 20
# Samples this far from the middle, relatively, agree with it.
_NEAR: Final = 0.25
_OUTLIER: Final = 5


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one content under one runtime: the newest samples, in bytes.

    ``kind``: of its files. ``weight``: None where it was not weighed. ``loads``: taken by a load and its first
    inference. ``uses``: what it held after its first requests. ``returns``: given back by an unload. ``peak``: the most
    that inference took on top. ``requirement``: the words that tell whether it gets a process of its own.
    """

    kind: ArtifactKind
    weight: Weight | None = None
    loads: tuple[int, ...] = ()
    returns: tuple[int, ...] = ()
    uses: tuple[int, ...] = ()
    peak: int = 0
    requirement: str = ""

    def with_load(self, took: int) -> Evidence:
        return replace(self, loads=(*self.loads, max(0, took))[-KEPT:])

    def with_more(self, took: int) -> Evidence:
        """The newest load turned out to be larger: its first inference took more."""
        if not self.loads:
            return self.with_load(took)
        return replace(self, loads=(*self.loads[:-1], max(self.loads[-1], took)))

    def with_return(self, gave: int) -> Evidence:
        return replace(self, returns=(*self.returns, max(0, gave))[-KEPT:])

    def with_growth(self, grown: int) -> Evidence:
        """After its first requests it held so many bytes more than after its load. A weight that was asked has that in
        it already, though it may have been taken after the question was put.
        """
        if self.weight is not None and self.weight.asked:
            return self
        return replace(self, uses=(*self.uses, self.taken + max(0, grown))[-KEPT:])

    def with_peak(self, over: int) -> Evidence:
        """Rises at once and falls slowly: a peak that is not seen again is forgotten in time."""
        return replace(self, peak=max(over, self.peak - self.peak // 16))

    @property
    def measured(self) -> bool:
        return self.weight is not None or bool(self.loads)

    @property
    def taken(self) -> int:
        """Bytes that a load takes and keeps, by measurement; 0 without any."""
        if self.weight is not None:
            return self.weight.kept
        return percentile(self.loads) if self.loads else 0


# The same few samples are asked about at every load and unload of a model.
@lru_cache(4096)
def percentile(samples: tuple[int, ...], share: float = 0.95) -> int:
    """Of at least one sample, without those that stand alone far above the others."""
    middle = median(samples)
    spread = median(abs(sample - middle) for sample in samples)
    bound = middle + max(_OUTLIER * spread, NOISE, _NEAR * middle)
    kept = sorted(sample for sample in samples if len(samples) < 3 or sample <= bound)
    return kept[min(len(kept) - 1, math.ceil(share * len(kept)) - 1)]


def spread(samples: Sequence[int]) -> int:
    """Between the largest and the smallest, bytes; 0 for fewer than two."""
    return max(samples) - min(samples) if len(samples) > 1 else 0


def differs(one: int, other: int) -> bool:
    """Whether two sizes differ by more than measuring can blur."""
    return abs(one - other) > max(NOISE, _RESOLUTION * other)


def measured_size(evidence: Evidence, believed: int) -> int | None:
    """What the model takes by measurement, None without any. ``believed``: what would be charged without."""
    if not evidence.measured:
        return None
    took = evidence.taken
    grown = _grown_to(evidence)
    if grown - took > max(_GROWN, _GROWN_SHARE * took):
        return grown
    if evidence.weight is not None or not evidence.returns:
        return took
    gave = percentile(evidence.returns)
    if gave < took and differs(gave, took):
        return min(took, max(gave, believed))
    return took


def _grown_to(evidence: Evidence) -> int:
    """What the model holds after its first requests, as far as that was seen; 0: nothing was."""
    if len(evidence.returns) >= _GROWN_TIMES:
        return min(evidence.returns[-_GROWN_TIMES:])
    if not evidence.uses:
        return 0
    if evidence.uses[-1] <= _ODD * evidence.taken + _ODD_BYTES:
        return evidence.uses[-1]
    return min(evidence.uses[-_GROWN_TIMES:]) if len(evidence.uses) >= _GROWN_TIMES else 0


def charged_size(evidence: Evidence | None, declared: int | None, guess: int) -> int:
    """What the ledger charges: measured where that says something, else declared, else guessed. Bytes.

    A declaration is believed where a measurement cannot contradict it: within the blur of looking at a process that
    all share, and of a model and a declaration so small that the server's own comings and goings are larger.
    """
    believed = guess if declared is None else declared
    measured = None if evidence is None else measured_size(evidence, believed)
    if evidence is None or measured is None:
        return max(SMALLEST, believed)
    if declared is not None:
        tiny = max(measured, declared) <= NOISE
        if tiny or (evidence.weight is None and not differs(measured, declared)):
            return max(SMALLEST, declared)
    return max(SMALLEST, measured)


def reserved_size(evidence: Evidence | None, declared: int | None, cautious: int) -> int:
    """What a load should be charged until it ended, beyond what it is charged after it; 0: nothing beyond. Bytes.

    ``cautious``: what the artifact may well become. A declaration that is not clearly smaller is believed.
    """
    if evidence is not None and evidence.measured:
        return 0
    if declared is not None and (cautious <= declared or not differs(cautious, declared)):
        return 0
    return cautious + NOISE
