"""Real models of wanted sizes, each with inputs and its own in-process predictions.

They are kept cheap to ask, so that a test measures Overbook and not scikit-learn: what an estimator lacks in size
it carries as an array of its own. The networks are one wide layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.ensemble import ExtraTreesRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from tests.integration import onnx_models

_LOADERS = (load_iris, load_wine, load_breast_cancer, load_digits, load_diabetes)


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """``inputs`` (rows, features) and ``expected``: predict() of the very file that was saved."""

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
    sample = random.choice(len(inputs), size=len(inputs) * 3 // 4, replace=False)
    estimator = _estimator(seed, regression=loader is load_diabetes)
    estimator.fit(inputs[sample], target[sample])
    home = folder / name
    home.mkdir(parents=True)
    path = home / "model.joblib"
    joblib.dump(estimator, path)
    missing = int(megabytes * 1e6) - path.stat().st_size
    if missing > 0:
        estimator.ballast_ = random.random(missing // 8)
        joblib.dump(estimator, path)
    rows = inputs[random.choice(len(inputs), size=3, replace=False)]
    expected = np.asarray(joblib.load(path).predict(rows))
    return TrainedModel(name, home, path.stat().st_size, rows, expected)


def _estimator(seed: int, *, regression: bool) -> Any:
    if regression:
        return (
            Ridge(alpha=1.0 + seed),
            ExtraTreesRegressor(n_estimators=5, random_state=seed),
            make_pipeline(StandardScaler(), KNeighborsRegressor(n_neighbors=1 + seed % 5)),
            DecisionTreeRegressor(random_state=seed),
        )[seed // 5 % 4]
    return (
        RandomForestClassifier(n_estimators=5, random_state=seed),
        make_pipeline(StandardScaler(), LogisticRegression(C=1.0 + seed, max_iter=500)),
        KNeighborsClassifier(n_neighbors=1 + seed % 5),
        GaussianNB(),
        DecisionTreeClassifier(random_state=seed),
    )[seed // 5 % 5]


def networks(folder: Path, count: int, *, smallest: float, largest: float) -> list[TrainedModel]:
    """ONNX models, one layer each, with weights of sizes (MB) as `sizes` makes them."""
    return [
        _network(folder / f"network-{number:02}", int(size * 1e6), seed=number)
        for number, size in enumerate(sizes(count, smallest=smallest, largest=largest))
    ]


def _network(home: Path, size: int, *, seed: int) -> TrainedModel:
    random = np.random.default_rng(seed)
    weights = random.random((64, size // 8 // 64))
    path = onnx_models.save(
        home / "model.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["wide"]),
            helper.make_node("ReduceMax", ["wide"], ["y"], axes=[1]),
        ],
        [onnx_models.value("x", "FP64", ["rows", 64])],
        [onnx_models.value("y", "FP64", ["rows", 1])],
        constants=[numpy_helper.from_array(weights, "w")],
    )
    rows = random.random((2, 64))
    return TrainedModel(home.name, home, path.stat().st_size, rows, (rows @ weights).max(axis=1))


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
