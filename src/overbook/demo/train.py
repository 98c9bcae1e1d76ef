"""Trains the demo's models. Runs in the inference server's environment: imports nothing of Overbook.

    python train.py OUT MODELS SEED

Writes OUT/models/NAME/model.joblib and OUT/expected/NAME.json (requests and what this very model
answers to them, before it is saved), and prints one JSON object a line for each finished model. The
data are scikit-learn's own sets, drawn with noise to the size that makes a model worth evicting.
"""

import json
import os
import sys
import warnings

# One thread each: two models are trained at a time, and the answers shall not depend on the cores.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

from collections.abc import Callable  # noqa: E402
from concurrent.futures import ProcessPoolExecutor, as_completed  # noqa: E402
from multiprocessing import get_context  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import NamedTuple, Protocol  # noqa: E402

import joblib  # noqa: E402
import numpy as np  # noqa: E402
from sklearn import datasets  # noqa: E402
from sklearn.ensemble import (  # noqa: E402
    BaggingClassifier,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.gaussian_process import GaussianProcessRegressor  # noqa: E402
from sklearn.gaussian_process.kernels import RBF, WhiteKernel  # noqa: E402
from sklearn.kernel_approximation import RBFSampler  # noqa: E402
from sklearn.linear_model import RidgeClassifier  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

CUSTOMERS = (
    "acorn", "basalt", "cobalt", "dahlia", "ember", "fjord", "ginkgo", "harbor", "indigo", "juniper",
    "kestrel", "lagoon", "meadow", "nimbus", "orchid", "pepper", "quartz", "raven", "saffron",
    "tundra", "umber", "velvet", "willow", "xenon", "yarrow", "zephyr", "amber", "birch", "cedar",
    "drift", "echo", "falcon", "garnet", "hazel", "ivory", "jasper", "kelp", "lilac", "maple", "north",
)  # fmt: skip
REQUESTS_PER_MODEL = 12
WORKERS = 2


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


def names(count: int) -> list[tuple[str, Recipe]]:
    """``count`` names CUSTOMER-DATASET, each with its recipe; a second model of one name gets a number."""
    found: list[tuple[str, Recipe]] = []
    seen: dict[str, int] = {}
    for number in range(count):
        recipe = RECIPES[number % len(RECIPES)]
        name = f"{CUSTOMERS[number % len(CUSTOMERS)]}-{recipe.data}"
        seen[name] = seen.get(name, 0) + 1
        found.append((name if seen[name] == 1 else f"{name}-{seen[name]}", recipe))
    return found


def draw(recipe: Recipe, rng: np.random.Generator) -> tuple[Array, Array]:
    """Rows of the data set, drawn with replacement and blurred."""
    inputs, targets = _LOADERS[recipe.data](return_X_y=True)
    picked = rng.integers(0, len(inputs), recipe.rows)
    spread = inputs.std(axis=0) * recipe.noise
    rows = inputs[picked] + rng.normal(0.0, 1.0, (recipe.rows, inputs.shape[1])) * spread
    answers = targets[picked]
    if answers.dtype.kind == "f":
        answers = answers + rng.normal(0.0, 20.0, recipe.rows)
    return rows, answers


def train(out: Path, number: int, name: str, seed: int) -> dict[str, object]:
    """Fit, save, remember some answers."""
    recipe = names(number + 1)[number][1]
    rng = np.random.default_rng([seed, number])
    rows, answers = draw(recipe, rng)
    scale = float(rng.uniform(0.6, 1.4))
    keep = _count(len(rows), 0.6 + 0.4 * scale / 1.4)
    with warnings.catch_warnings():
        # A few epochs are enough for a model whose weights matter more than its score.
        warnings.simplefilter("ignore")
        model = recipe.make(seed + number, scale).fit(rows[:keep], answers[:keep])
    folder = out / "models" / name
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, folder / "model.joblib")
    cases: list[dict[str, object]] = []
    for _ in range(REQUESTS_PER_MODEL):
        asked = rows[rng.integers(0, len(rows), int(rng.integers(1, 5)))]
        cases.append({"inputs": asked.tolist(), "answers": model.predict(asked).tolist()})
    size = (folder / "model.joblib").stat().st_size
    entry: dict[str, object] = {
        "name": name,
        "kind": recipe.kind,
        "data": recipe.data,
        "bytes": size,
    }
    (out / "expected" / f"{name}.json").write_text(json.dumps({**entry, "cases": cases}))
    return entry


def main(out: Path, count: int, seed: int) -> None:
    (out / "expected").mkdir(parents=True, exist_ok=True)
    wanted = names(count)
    # Forked after the imports, which take longer than most of the models.
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("fork")) as pool:
        jobs = [
            pool.submit(train, out, number, name, seed) for number, (name, _) in enumerate(wanted)
        ]
        for job in as_completed(jobs):
            print(json.dumps(job.result()), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
