"""Makes models of every framework that MLServer serves, of wanted sizes. Runs in MLServer's environment.

    python truth_models.py OUT PLANS

PLANS: JSON, ``[{"name": …, "kind": …, "megabytes": …, "seed": …}, …]``; the sizes are what the models take in memory,
roughly. Writes OUT/NAME/… (the artifact) and OUT/NAME.json: a request of the Open Inference Protocol, and what this
very model answers to it. Imports nothing of Overbook.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np

_FEATURES = 8
_ROWS = 4000
_ASKED = 3
# Measured: bytes that a tree takes which is as deep as so many rows of noise make it, by kind.
_FOREST_TREE, _BOOSTED_TREE = 107_000, 30_000
_XGBOOST_TREE, _LIGHTGBM_TREE, _CATBOOST_TREE = 23_000, 18_000, 25_000
_WORD, _NEIGHBOUR = 165, 150
_CUSTOM = '''
import asyncio

import helper
import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Weighted(MLModel):
    """Own code, own data: a table of words and an array."""

    async def load(self):
        self.table, self.weights = helper.made(self.settings.parameters.extra["megabytes"])
        return True

    async def predict(self, payload):
        rows = NumpyCodec.decode_input(payload.inputs[0])
        total = np.array([[float(rows.sum())]])
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("sum", total)])
'''
_HELPER = '''
import numpy as np


def made(megabytes):
    """A tenth of it as words, the rest as numbers."""
    words = {f"word-{number}-of-this-model": number for number in range(int(megabytes * 500))}
    return words, np.random.default_rng(1).random(int(megabytes * 900_000 / 8))
'''


class Made:
    """A model's folder, and what it answers. ``rows``: asked for, as the protocol's JSON has them."""

    def __init__(self, out: Path, name: str) -> None:
        self.folder = out / name
        self.folder.mkdir(parents=True)
        self._json = out / f"{name}.json"

    def says(self, rows: Any, answers: Any, datatype: str = "FP64", **parameters: str) -> None:
        flat = rows.ravel().tolist() if isinstance(rows, np.ndarray) else list(rows)
        shape = list(rows.shape) if isinstance(rows, np.ndarray) else [len(flat), 1]
        tensor = {"name": "x", "shape": shape, "datatype": datatype, "data": flat}
        request: dict[str, Any] = {"inputs": [tensor]}
        if parameters:
            request["parameters"] = parameters
        said = np.asarray(answers).ravel().tolist()
        self._json.write_text(json.dumps({"request": request, "answers": said}))


def _data(seed: int, rows: int = _ROWS) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rows, _FEATURES))
    return inputs, inputs[:, 0] + rng.normal(size=rows)


def _classes(seed: int, rows: int = _ROWS) -> tuple[np.ndarray, np.ndarray]:
    inputs, target = _data(seed, rows)
    return inputs, (target > 0).astype(int)


def linear(made: Made, megabytes: float, seed: int) -> None:
    """As many outputs as make it large; below a megabyte just the one."""
    from sklearn.linear_model import LinearRegression

    features = _FEATURES if megabytes < 1 else 500
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(_ASKED, features))
    model = LinearRegression().fit(rows, rows[:, 0])
    if megabytes >= 1:
        model.coef_ = rng.normal(size=(int(megabytes * 1e6) // 8 // features, features))
        model.intercept_ = np.zeros(len(model.coef_))
    joblib.dump(model, made.folder / "model.joblib")
    made.says(rows, model.predict(rows))


def _forest(megabytes: float, seed: int) -> tuple[Any, np.ndarray]:
    from sklearn.ensemble import RandomForestClassifier

    trees = max(5, round(megabytes * 1e6 / _FOREST_TREE))
    rows = min(_ROWS, int(_ROWS * megabytes * 1e6 / (trees * _FOREST_TREE)))
    inputs, target = _classes(seed, max(50, rows))
    model = RandomForestClassifier(trees, random_state=seed, n_jobs=1).fit(inputs, target)
    return model, inputs[:_ASKED]


def forest(made: Made, megabytes: float, seed: int) -> None:
    model, rows = _forest(megabytes, seed)
    joblib.dump(model, made.folder / "model.joblib")
    made.says(rows, model.predict(rows))


def boosting(made: Made, megabytes: float, seed: int) -> None:
    from sklearn.ensemble import GradientBoostingRegressor

    inputs, target = _data(seed)
    trees = max(1, round(megabytes * 1e6 / _BOOSTED_TREE))
    model = GradientBoostingRegressor(n_estimators=trees, max_depth=9, random_state=seed)
    joblib.dump(model.fit(inputs, target), made.folder / "model.joblib")
    made.says(inputs[:_ASKED], model.predict(inputs[:_ASKED]))


def neighbours(made: Made, megabytes: float, seed: int) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    inputs, target = _classes(seed, int(megabytes * 1e6 / _NEIGHBOUR))
    model = KNeighborsClassifier(5, algorithm="kd_tree").fit(inputs, target)
    joblib.dump(model, made.folder / "model.joblib")
    made.says(inputs[:_ASKED], model.predict(inputs[:_ASKED]))


def text(made: Made, megabytes: float, seed: int) -> None:
    """Made-up words in made-up texts: most of it is the vocabulary, a dictionary of strings."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier
    from sklearn.pipeline import make_pipeline

    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    count = int(megabytes * 1e6 / _WORD)
    words = ["".join(rng.choice(letters, rng.integers(5, 13))) for _ in range(count)]
    texts = [" ".join(words[at : at + 200]) for at in range(0, count, 200)] * 2
    labels = rng.integers(0, 2, len(texts))
    labels[:2] = 0, 1
    model = make_pipeline(TfidfVectorizer(), SGDClassifier(max_iter=5, tol=None, random_state=seed))
    joblib.dump(model.fit(texts, labels), made.folder / "model.joblib")
    asked = [each[:200] for each in texts[:_ASKED]]
    made.says(asked, model.predict(asked), "BYTES", content_type="str")


def xgboost(made: Made, megabytes: float, seed: int) -> None:
    import xgboost as library

    inputs, target = _data(seed)
    trees = max(1, round(megabytes * 1e6 / _XGBOOST_TREE))
    model = library.XGBRegressor(n_estimators=trees, max_depth=9, n_jobs=1).fit(inputs, target)
    model.save_model(made.folder / "model.ubj")
    made.says(inputs[:_ASKED], model.predict(inputs[:_ASKED]), "FP32")


def lightgbm(made: Made, megabytes: float, seed: int) -> None:
    import lightgbm as library

    inputs, target = _data(seed)
    settings = {"num_leaves": 255, "min_data_in_leaf": 2, "verbose": -1, "num_threads": 1}
    trees = max(1, round(megabytes * 1e6 / _LIGHTGBM_TREE))
    library.train(settings, library.Dataset(inputs, target), trees).save_model(
        made.folder / "model.txt"
    )
    # As it is read from its file: there numbers are text.
    again = library.Booster(model_file=made.folder / "model.txt")
    made.says(inputs[:_ASKED], again.predict(inputs[:_ASKED]))


def catboost(made: Made, megabytes: float, seed: int) -> None:
    from catboost import CatBoostClassifier

    inputs, _ = _data(seed)
    target = np.random.default_rng(seed).integers(0, 10, len(inputs))
    trees = max(1, round(megabytes * 1e6 / _CATBOOST_TREE))
    model = CatBoostClassifier(
        iterations=trees, depth=8, verbose=False, allow_writing_files=False, thread_count=1
    ).fit(inputs, target)
    model.save_model(str(made.folder / "model.cbm"))
    made.says(inputs[:_ASKED], model.predict(inputs[:_ASKED]))


def mlflow(made: Made, megabytes: float, seed: int) -> None:
    import mlflow.sklearn

    model, rows = _forest(megabytes, seed)
    made.folder.rmdir()
    mlflow.sklearn.save_model(
        model,
        made.folder,
        pip_requirements=["scikit-learn"],
        skops_trusted_types=["sklearn.tree._tree.Tree"],
    )
    made.says(rows, model.predict(rows), content_type="np")


def custom(made: Made, megabytes: float, seed: int) -> None:
    (made.folder / "model.py").write_text(_CUSTOM)
    (made.folder / "helper.py").write_text(_HELPER)
    settings = {
        "implementation": "model.Weighted",
        "parameters": {"extra": {"megabytes": megabytes}},
    }
    (made.folder / "model-settings.json").write_text(json.dumps(settings))
    rows = np.random.default_rng(seed).random((_ASKED, _FEATURES))
    made.says(rows, rows.sum())


MAKERS: dict[str, Callable[[Made, float, int], None]] = {
    maker.__name__: maker
    for maker in (
        *(linear, forest, boosting, neighbours, text),
        *(xgboost, lightgbm, catboost, mlflow, custom),
    )
}


if __name__ == "__main__":
    for plan in json.loads(Path(sys.argv[2]).read_text()):
        made = Made(Path(sys.argv[1]), plan["name"])
        MAKERS[plan["kind"]](made, plan["megabytes"], plan["seed"])
