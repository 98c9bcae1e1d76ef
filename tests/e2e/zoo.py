"""Real scikit-learn models of wanted sizes, each with inputs and its own in-process predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.ensemble import ExtraTreesRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

_LOADERS = (load_iris, load_wine, load_breast_cancer, load_digits, load_diabetes)
_KINDS = 6


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """``inputs`` (rows, features) and ``expected``: predict() of the very object that was saved."""

    name: str
    folder: Path
    bytes: int
    inputs: NDArray[np.float64]
    expected: NDArray[np.float64]


def train(folder: Path, name: str, *, megabytes: float, seed: int) -> TrainedModel:
    """A model of about that size on disk; which kind, and on which data, follows from the seed."""
    random = np.random.default_rng(seed)
    loader = _LOADERS[seed % len(_LOADERS)]
    inputs, target = loader(return_X_y=True)
    regression = loader is load_diabetes
    kind = seed % _KINDS
    if megabytes < 0.3 or kind in (0, 1):
        estimator = _forest(inputs, target, regression, megabytes, seed)
    elif kind == 2:
        scaler = StandardScaler().fit(inputs)
        scaled = scaler.transform(inputs)
        estimator = make_pipeline(
            scaler, _neighbours(scaled, target, regression, megabytes, random)
        )
    elif kind == 3:
        estimator = _neighbours(inputs, target, regression, megabytes, random)
    elif regression:
        estimator = make_pipeline(StandardScaler(), Ridge())
        estimator.fit(inputs, target)
        estimator.ballast_ = random.random(int(megabytes * 131072))
    else:
        base = (
            LogisticRegression(max_iter=200)
            if kind == 4
            else DecisionTreeClassifier(random_state=seed)
        )
        estimator = base.fit(inputs / inputs.max(), target)
        estimator.ballast_ = random.random(int(megabytes * 131072))
    rows = inputs[random.choice(len(inputs), size=3, replace=False)]
    home = folder / name
    home.mkdir(parents=True)
    path = home / "model.joblib"
    joblib.dump(estimator, path)
    # The truth is what the saved file predicts, not the object in memory.
    expected = np.asarray(joblib.load(path).predict(rows))
    return TrainedModel(name, home, path.stat().st_size, rows, expected)


def _forest(
    inputs: NDArray[np.float64],
    target: NDArray[np.float64],
    regression: bool,
    megabytes: float,
    seed: int,
) -> object:
    """One tree is measured, then as many as make the size."""
    make = ExtraTreesRegressor if regression else RandomForestClassifier
    one = make(n_estimators=2, random_state=seed).fit(inputs, target)
    per_tree = sum(tree.tree_.__getstate__()["nodes"].nbytes + 2000 for tree in one.estimators_) / 2
    trees = min(400, max(1, int(megabytes * 1e6 / per_tree)))
    return make(n_estimators=trees, random_state=seed).fit(inputs, target)


def _neighbours(
    inputs: NDArray[np.float64],
    target: NDArray[np.float64],
    regression: bool,
    megabytes: float,
    random: np.random.Generator,
) -> object:
    rows = max(10, int(megabytes * 1e6 / (8 * inputs.shape[1] + 16)))
    chosen = random.integers(0, len(inputs), size=rows)
    data = inputs[chosen] + random.normal(0, 0.05, size=(rows, inputs.shape[1]))
    make = KNeighborsRegressor if regression else KNeighborsClassifier
    return make(n_neighbors=3, algorithm="brute").fit(data, target[chosen])


def sizes(count: int, *, smallest: float, largest: float, seed: int = 7) -> Sequence[float]:
    """Megabytes, log-uniform between the bounds: many small ones, a few large ones."""
    random = np.random.default_rng(seed)
    drawn = np.exp(random.uniform(np.log(smallest), np.log(largest), size=count))
    return [float(each) for each in drawn]


def zoo(
    folder: Path, count: int, *, smallest: float = 0.1, largest: float = 30.0
) -> list[TrainedModel]:
    wanted = sizes(count, smallest=smallest, largest=largest)
    return [
        train(folder, f"model-{number:02}", megabytes=size, seed=number)
        for number, size in enumerate(wanted)
    ]
