"""From what was measured to what is charged. Pure: numbers in, numbers out.

Theory of operation. A load seen alone says what the model took; the unload seen alone says what came back. Where
both agree the model is as large as its loads say, with a margin for their spread (the 95th percentile; a single
sample far from the others is left out). Where much less came back, the loads brought something along that stays:
a framework imported once, or a leak. Then the truth lies between, and what was believed before decides.
A declaration is overruled by what is beyond the noise of measuring, and only by that: in one process shared by
all models, buffers and imports of some hundred kilobytes come and go with any load.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median
from typing import Final

from overbook.agent.guesses import CAUTIOUS, FACTOR, SMALLEST

KEPT: Final = 16
# Less than this cannot be told from the server's own comings and goings.
NOISE: Final = 1 << 20
# Nor less than this share of a model.
_RESOLUTION: Final = 0.02
# A declaration this far from the truth, relatively, is worth a warning.
TOLERATED: Final = 0.25
_FACTOR_SAMPLES: Final = 3
_OUTLIER: Final = 5


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one content under one runtime: the newest samples, in bytes.

    ``loads``: taken by a load and its first inference. ``returns``: given back by an unload. ``peak``: the most that
    inference took on top. ``artifact``: size of its files.
    """

    artifact: int
    loads: tuple[int, ...] = ()
    returns: tuple[int, ...] = ()
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

    def with_peak(self, over: int) -> Evidence:
        """Rises at once and falls slowly: a peak that is not seen again is forgotten in time."""
        return replace(self, peak=max(over, self.peak - self.peak // 16))

    @property
    def measured(self) -> bool:
        return bool(self.loads)


# The same few samples are asked about at every load and unload of a model.
@lru_cache(4096)
def percentile(samples: tuple[int, ...], share: float = 0.95) -> int:
    """Of at least one sample, without those that stand alone far above the others."""
    middle = median(samples)
    spread = median(abs(sample - middle) for sample in samples)
    bound = middle + max(_OUTLIER * spread, NOISE, TOLERATED * middle)
    kept = sorted(sample for sample in samples if len(samples) < 3 or sample <= bound)
    return kept[min(len(kept) - 1, math.ceil(share * len(kept)) - 1)]


def spread(samples: Sequence[int]) -> int:
    """Between the largest and the smallest, bytes; 0 for fewer than two."""
    return max(samples) - min(samples) if len(samples) > 1 else 0


def differs(one: int, other: int) -> bool:
    """Whether two sizes differ by more than measuring can blur."""
    return abs(one - other) > max(NOISE, _RESOLUTION * other)


def wrong(measured: int, declared: int) -> bool:
    """Whether a declaration is off by more than noise and by more than a quarter of itself."""
    return abs(measured - declared) > max(NOISE, TOLERATED * declared)


def measured_size(evidence: Evidence, believed: int) -> int | None:
    """What the model takes by measurement, None without any. ``believed``: what would be charged without."""
    if not evidence.loads:
        return None
    took = percentile(evidence.loads)
    if not evidence.returns:
        return took
    gave = percentile(evidence.returns)
    if gave >= took:
        return gave if differs(gave, took) else took
    if differs(gave, took):
        return min(took, max(gave, believed))
    return took


def charged_size(evidence: Evidence | None, declared: int | None, guess: int) -> int:
    """What the ledger charges: measured where that says something, else declared, else guessed. Bytes."""
    believed = guess if declared is None else declared
    measured = None if evidence is None else measured_size(evidence, believed)
    if measured is None or (declared is not None and not differs(measured, declared)):
        return max(SMALLEST, believed)
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


def cautious_factor(known: Sequence[Evidence], process: int = 0) -> float:
    """As `learned_factor`, but which nearly all of them stay below by no more than noise; at first `CAUTIOUS`."""
    # Per MiB, so that the noise of one is what `percentile` takes it for.
    ratios = tuple(
        max(0, percentile(evidence.loads) - process - NOISE) * NOISE // evidence.artifact
        for evidence in known
        if evidence.loads and evidence.artifact >= NOISE
    )
    if len(ratios) < _FACTOR_SAMPLES:
        return CAUTIOUS
    return max(learned_factor(known, process), percentile(ratios) / NOISE)


def learned_factor(known: Sequence[Evidence], process: int = 0) -> float:
    """Bytes in memory per byte of artifact: the median over contents large enough to tell, else `FACTOR`.

    ``process``: bytes that each takes beside that.
    """
    ratios = [
        max(0, percentile(evidence.loads) - process) / evidence.artifact
        for evidence in known
        if evidence.loads and evidence.artifact >= NOISE
    ]
    return median(ratios) if len(ratios) >= _FACTOR_SAMPLES else FACTOR
