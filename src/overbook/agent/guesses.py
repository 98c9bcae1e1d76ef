"""What a model will take in memory before anybody measured it: from its artifact, and from how it is served. Pure.

Theory of operation. Artifacts of one kind (`artifacts.kinds`) become memory in the same way, those of different kinds
do not: a forest is in memory what it is on disk, a vocabulary four times that. So what was measured teaches of its own
kind only, and until three of a kind are known its format's first factors hold, `PRIORS`. Small ones teach nothing of
large ones: what a model takes beside its data, and the steps in which dictionaries grow, are all there is of them.
Nothing here is ever a measurement, and nobody may show it as one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from overbook.agent.kinds import ArtifactKind

# A ledger entry of nothing would let any number of models in.
SMALLEST: Final = 4096

# What a model takes beside what its files become, bytes: the server's own objects for it.
BESIDE: Final = 16 << 10
# Contents of a kind that teach, the newest; and how many there must be.
NEWEST: Final = 64
ENOUGH: Final = 3
# A content teaches of others that are up to so many times as large.
_LARGER: Final = 8
# Kinds that are remembered, those met last.
_KINDS: Final = 1024
# One of so many may stand alone and be an accident of measuring; of fewer, nobody can tell.
_FOR_OUTLIERS: Final = 8
_OUTLIER: Final = 5
_SHARE: Final = 0.95
# However well some agree, the next may differ by this share.
_MARGIN: Final = 0.05


@dataclass(frozen=True, slots=True)
class Factors:
    """Bytes in memory for each byte of the artifact: the middle of what a kind becomes, what nearly all of it
    stays below, and what nearly all of it stays below at any moment while it loads.
    """

    likely: float
    cautious: float
    loading: float


# Measured on some 240 models in MLServer's environment (Python 3.11, scikit-learn 1.9.1, XGBoost 3.2, LightGBM 4.7,
# CatBoost 1.2, ONNX Runtime 1.32, MLflow 3.17; glibc with the agent's settings), each loaded by MLServer's class in a
# process of its own, after a small one of its kind. Kept: private memory, collected and trimmed; loading: the peak of
# the resident size. The longest beginning of a kind counts; what is not here falls under "", with room for surprises.
PRIORS: Final[Mapping[str, Factors]] = {
    "": Factors(1.2, 2.0, 3.0),
    # Arrays are in memory what they are on disk; trees come out of the file as bytes first, and then are nodes.
    "pickle": Factors(1.1, 1.5, 2.2),
    "pickle:catboost.": Factors(1.2, 1.5, 1.6),
    "pickle:lightgbm.": Factors(0.7, 0.9, 3.0),
    "pickle:sklearn.cluster.": Factors(1.0, 1.1, 1.2),
    "pickle:sklearn.decomposition.": Factors(1.0, 1.1, 1.2),
    "pickle:sklearn.ensemble._forest.": Factors(1.03, 1.1, 2.1),
    "pickle:sklearn.ensemble._gb.": Factors(1.5, 2.4, 2.8),
    "pickle:sklearn.ensemble._hist_gradient_boosting.": Factors(1.5, 1.8, 1.9),
    "pickle:sklearn.ensemble._iforest.": Factors(1.2, 1.3, 2.1),
    "pickle:sklearn.feature_extraction.text.": Factors(7.0, 8.5, 11.0),
    "pickle:sklearn.gaussian_process.": Factors(1.0, 1.1, 1.2),
    "pickle:sklearn.linear_model.": Factors(1.0, 1.1, 1.2),
    "pickle:sklearn.neighbors.": Factors(1.0, 1.1, 1.2),
    "pickle:sklearn.neural_network.": Factors(1.0, 1.1, 1.2),
    "pickle:sklearn.pipeline.Pipeline+sklearn.feature_extraction.text.": Factors(3.0, 4.0, 5.0),
    "pickle:sklearn.svm.": Factors(1.0, 1.1, 1.2),
    "pickle:sklearn.tree.": Factors(1.0, 1.1, 2.0),
    "pickle:xgboost.": Factors(1.6, 1.8, 5.8),
    # Packed, and nobody could unpack it: trees and words become five times that, weights no more than they were.
    "joblib-packed": Factors(2.0, 5.5, 12.0),
    "xgboost-json": Factors(1.0, 1.2, 12.5),
    "xgboost-ubj": Factors(1.6, 1.8, 5.5),
    "lightgbm-txt": Factors(0.7, 0.9, 5.0),
    "catboost-cbm": Factors(2.4, 3.0, 3.5),
    "onnx": Factors(1.0, 1.3, 2.5),
    "onnx-trees": Factors(4.0, 4.6, 12.0),
}
# What stands before the kind of the file that the model is; and a pickle that was packed is one unpacked.
_AROUND: Final = re.compile(r"^(code:|mlflow:\w+:)")
_PACKED: Final = re.compile(r"^joblib-(?!packed)\w+")


@dataclass(frozen=True, slots=True)
class Expectation:
    """Bytes that a model will take: likely, cautiously, and cautiously while it loads. ``learned``: from its kind."""

    likely: int
    cautious: int
    loading: int
    learned: bool = False


@dataclass(frozen=True, slots=True)
class _Sample:
    """One content: bytes of its artifact, and what each became. ``loading``: None when nobody saw that."""

    size: int
    kept: float
    loading: float | None


class Experience:
    """What contents turned out to take, by kind, and what others of the kind will take therefore."""

    def __init__(self) -> None:
        self._kinds: dict[str, dict[str, _Sample]] = {}
        self._word_of: dict[str, str] = {}

    def note(
        self,
        digest: str,
        kind: ArtifactKind,
        kept: int,
        *,
        loading: int | None = None,
        process: int = 0,
    ) -> None:
        """This content was measured; what was known of it before no longer counts. Bytes.

        ``process``: of ``kept`` and ``loading``, what the process takes that the model has for itself.
        """
        self.forget(digest)
        size = kind.bytes + BESIDE
        peak = None if loading is None else max(0, max(loading, kept) - process) / size
        sample = _Sample(kind.bytes, max(0, kept - process) / size, peak)
        samples = self._kinds.pop(kind.word, {})
        self._kinds[kind.word] = samples  # the newest stands last
        samples[digest] = sample
        self._word_of[digest] = kind.word
        if len(samples) > NEWEST:
            self.forget(next(iter(samples)))
        if len(self._kinds) > _KINDS:
            for each in self._kinds.pop(next(iter(self._kinds))):
                del self._word_of[each]

    def forget(self, digest: str) -> None:
        """What was learned from this content is unlearned."""
        word = self._word_of.pop(digest, None)
        if word is None:
            return
        samples = self._kinds[word]
        del samples[digest]
        if not samples:
            del self._kinds[word]

    def expect(self, kind: ArtifactKind, *, process: int = 0) -> Expectation:
        """Of a content that was never measured. ``process``: bytes of the process that it gets for itself."""
        factors, learned = prior(kind.word), False
        samples = [
            each
            for each in self._kinds.get(kind.word, {}).values()
            if each.size * _LARGER >= kind.bytes
        ]
        if len(samples) >= ENOUGH:
            factors, learned = _learned(samples, factors), True
        size = kind.bytes + BESIDE
        likely = max(SMALLEST, round(size * factors.likely))
        cautious = max(likely, round(size * factors.cautious))
        loading = max(cautious, round(size * factors.loading))
        return Expectation(likely + process, cautious + process, loading + process, learned)


def prior(word: str) -> Factors:
    """The first factors of a kind, by its format and classes."""
    plain = _PACKED.sub("pickle", _AROUND.sub("", word))
    return PRIORS[max((each for each in PRIORS if plain.startswith(each)), key=len)]


def _learned(samples: Sequence[_Sample], before: Factors) -> Factors:
    kept = [each.kept for each in samples]
    likely = median(kept)
    seen = [each.loading for each in samples if each.loading is not None]
    by_format = likely * before.loading / before.likely
    loading = _nearly_all(seen) if len(seen) >= ENOUGH else by_format
    return Factors(likely, _nearly_all(kept), loading)


def _nearly_all(ratios: Sequence[float]) -> float:
    """What the next is likely to stay below: beyond the highest seen, the further the fewer were seen."""
    kept = sorted(ratios)
    if len(kept) >= _FOR_OUTLIERS:
        middle = median(kept)
        near = median(abs(each - middle) for each in kept)
        kept = [each for each in kept if each <= middle + max(_OUTLIER * near, middle / 4)]
    high = kept[min(len(kept) - 1, math.ceil(_SHARE * len(kept)) - 1)]
    return (high + (high - kept[0]) / (len(kept) - 1)) * (1 + _MARGIN)


@dataclass(frozen=True, slots=True)
class Guess:
    """``own_process``: bytes of the process that a model of this requirement gets, without the model."""

    own_process: Mapping[str, int] = field(default_factory=dict)

    def process(self, requirements: Iterable[str]) -> int:
        """Bytes of the process that the model gets; 0 where it shares one."""
        requirements = tuple(requirements)
        floors = [self.own_process[word] for word in requirements if word in self.own_process]
        if not floors and self.own_process:
            # It does not say what it is, and it will be one of these.
            floors = [min(self.own_process.values())]
        return max(floors, default=0)
