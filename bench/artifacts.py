"""Real scikit-learn models, many and small, or one that takes a while to answer. Writes files."""

from __future__ import annotations

from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from overbook.client.http import JsonObject

# A row of the iris data, in the protocol's JSON.
IRIS_ROW: list[float] = [5.1, 3.5, 1.4, 0.2]
IRIS_BODY: JsonObject = {
    "inputs": [
        {"name": "predict", "shape": [1, 4], "datatype": "FP64", "data": [*IRIS_ROW]},
    ]
}


def small_models(folder: Path, count: int) -> list[Path]:
    """Logistic regressions of under a kilobyte, each with coefficients of its own; their folders."""
    estimator = LogisticRegression(max_iter=200).fit(*load_iris(return_X_y=True))
    random = np.random.default_rng(count)
    homes = []
    for number in range(count):
        estimator.coef_ = random.normal(size=estimator.coef_.shape)
        home = folder / f"m{number:05}"
        home.mkdir(parents=True)
        joblib.dump(estimator, home / "model.joblib")
        homes.append(home)
    return homes


def forests(folder: Path, count: int, trees: int) -> list[Path]:
    """Different forests, called like the small models; their folders."""
    return [forest(folder / f"m{number:05}", trees, seed=number) for number in range(count)]


def forest(folder: Path, trees: int, seed: int = 1) -> Path:
    """A random forest on the iris data: what customers' models rather look like. Its folder."""
    estimator = RandomForestClassifier(n_estimators=trees, random_state=seed)
    estimator.fit(*load_iris(return_X_y=True))
    folder.mkdir(parents=True)
    joblib.dump(estimator, folder / "model.joblib")
    return folder
