"""Trains the demo's scikit-learn and LightGBM models. Runs in MLServer's environment; see `customers`.

The data are scikit-learn's own sets, drawn with noise to the size that makes a model worth evicting.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import customers
import joblib
import lightgbm
import numpy as np
from sklearn import datasets
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


class Estimator(Protocol):
    """What every scikit-learn model can do."""

    def fit(self, rows: object, answers: object) -> "Estimator": ...

    def predict(self, rows: object) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]": ...


Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class Recipe(NamedTuple):
    """A data set, how many rows of it, how noisy, and the model to fit. ``make(random_state, scale)``."""

    data: str
    kind: str
    rows: int
    noise: float
    make: Callable[[int, float], Estimator]


def _count(base: int, scale: float) -> int:
    return max(1, round(base * scale))


def _gaussian_process() -> Estimator:
    model: Estimator = GaussianProcessRegressor(
        RBF(1.0) + WhiteKernel(), optimizer=None, normalize_y=True
    )
    return model


# In this order they go to the customers, so that neighbours differ. Sizes on disk: 3 to 50 MB.
RECIPES = (
    Recipe("digits", "ExtraTrees", 12000, 0.3,
           lambda r, s: ExtraTreesClassifier(_count(36, s), random_state=r)),
    Recipe("wine", "ExtraTrees", 15000, 1.0,
           lambda r, s: ExtraTreesClassifier(_count(28, s), random_state=r)),
    Recipe("diabetes", "MLP", 800, 0.05,
           lambda r, s: MLPRegressor(hidden_layer_sizes=(1000, _count(1100, s)), max_iter=3, random_state=r)),
    Recipe("cancer", "KNeighbors", 80000, 0.1,
           lambda r, s: KNeighborsClassifier(5, algorithm="brute")),
    Recipe("iris", "ExtraTrees", 15000, 1.0,
           lambda r, s: ExtraTreesClassifier(_count(22, s), random_state=r)),
    Recipe("diabetes", "GaussianProcess", 2000, 0.05,
           lambda r, s: _gaussian_process()),
    Recipe("digits", "MLP", 1797, 0.0,
           lambda r, s: MLPClassifier((1100, _count(900, s)), max_iter=3, random_state=r)),
    Recipe("wine", "GaussianProcess", 1900, 0.3,
           lambda r, s: make_pipeline(StandardScaler(), _gaussian_process())),
    Recipe("digits", "KNeighbors", 46000, 0.1,
           lambda r, s: KNeighborsClassifier(3, algorithm="brute")),
    Recipe("diabetes", "ExtraTrees", 12000, 0.05,
           lambda r, s: ExtraTreesRegressor(_count(15, s), random_state=r)),
    Recipe("digits", "RandomForest", 7000, 0.5,
           lambda r, s: RandomForestClassifier(_count(80, s), random_state=r)),
    Recipe("iris", "Bagging", 20000, 0.3,
           lambda r, s: BaggingClassifier(KNeighborsClassifier(), n_estimators=_count(14, s), random_state=r)),
    Recipe("digits", "Pipeline", 900, 0.0,
           lambda r, s: make_pipeline(
               StandardScaler(), RBFSampler(gamma=0.01, n_components=_count(26000, s), random_state=r),
               RidgeClassifier())),
    Recipe("diabetes", "KNeighbors", 110000, 0.05,
           lambda r, s: KNeighborsRegressor(5, algorithm="kd_tree")),
    Recipe("diabetes", "GradientBoosting", 900, 0.05,
           lambda r, s: GradientBoostingRegressor(n_estimators=_count(500, s), max_depth=8, random_state=r)),
    Recipe("cancer", "ExtraTrees", 20000, 1.5,
           lambda r, s: ExtraTreesClassifier(_count(46, s), random_state=r)),
)  # fmt: skip

_LOADERS: dict[str, Callable[..., tuple[Array, Array]]] = {
    "digits": datasets.load_digits,
    "wine": datasets.load_wine,
    "cancer": datasets.load_breast_cancer,
    "iris": datasets.load_iris,
    "diabetes": datasets.load_diabetes,
}


def draw(data: str, count: int, noise: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Rows of the data set, drawn with replacement and blurred."""
    inputs, targets = _LOADERS[data](return_X_y=True)
    picked = rng.integers(0, len(inputs), count)
    spread = inputs.std(axis=0) * noise
    rows = inputs[picked] + rng.normal(0.0, 1.0, (count, inputs.shape[1])) * spread
    answers = targets[picked]
    if answers.dtype.kind == "f":
        answers = answers + rng.normal(0.0, 20.0, count)
    return rows, answers


def train(out: Path, order: customers.Order, seed: int) -> dict[str, object]:
    """Fit, save, remember some answers."""
    rng = np.random.default_rng([seed, order.number])
    scale = float(rng.uniform(0.6, 1.4))
    folder = out / "models" / order.name
    folder.mkdir(parents=True, exist_ok=True)
    one = _lightgbm if order.kind == "lightgbm" else _sklearn
    kind, data, rows, predict = one(order, folder, scale, seed, rng)
    cases = []
    for _ in range(customers.REQUESTS_PER_MODEL):
        asked = rows[rng.integers(0, len(rows), int(rng.integers(1, 5)))]
        cases.append({"inputs": asked.tolist(), "answers": predict(asked).ravel().tolist()})
    trained = customers.Trained(
        framework=order.kind,
        kind=kind,
        data=data,
        bytes=customers.size_of(folder),
        requirements=(order.kind,),
        tensor="input-0",
        datatype="FP64",
        cases=cases,
    )
    return customers.write(out, order, trained)


_Made = tuple[str, str, Array, Callable[[Array], Array]]


def _sklearn(
    order: customers.Order, folder: Path, scale: float, seed: int, rng: np.random.Generator
) -> _Made:
    recipe = RECIPES[order.turn % len(RECIPES)]
    rows, answers = draw(recipe.data, recipe.rows, recipe.noise, rng)
    keep = _count(len(rows), 0.6 + 0.4 * scale / 1.4)
    with warnings.catch_warnings():
        # A few epochs are enough for a model whose weights matter more than its score.
        warnings.simplefilter("ignore")
        model = recipe.make(seed + order.number, scale).fit(rows[:keep], answers[:keep])
    joblib.dump(model, folder / "model.joblib")
    return recipe.kind, recipe.data, rows, model.predict


def _lightgbm(
    order: customers.Order, folder: Path, scale: float, seed: int, rng: np.random.Generator
) -> _Made:
    data = ("digits", "diabetes", "cancer")[order.turn % 3]
    rows, answers = draw(data, 4000, 0.4, rng)
    settings = {"objective": "regression", "num_leaves": 255, "seed": seed, "verbose": -1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = lightgbm.train(
            {**settings, "num_threads": 1, "min_data_in_leaf": 2},
            lightgbm.Dataset(rows, answers),
            num_boost_round=_count(400, scale),
        )
    model.save_model(folder / "model.bst")
    # As it is read from its file: there numbers are text.
    again = lightgbm.Booster(model_file=folder / "model.bst")
    return "LightGBM", data, rows, again.predict


if __name__ == "__main__":
    customers.main(frozenset({"sklearn", "lightgbm"}), train)
