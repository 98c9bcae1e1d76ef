"""Models of the frameworks that are extras, fitted with tables or texts, and what they answer. Runs in a runtime's
environment that has all of them: imports nothing of Overbook.

    python told_tables.py train OUT      # OUT/NAME/ is the artifact, OUT/NAME.json what it is to be asked
    python told_tables.py ask OUT        # in a process of its own: prints {NAME: values}
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import lightgbm
import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import xgboost
from catboost import CatBoost, CatBoostRegressor
from mlflow.models import infer_signature
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from told_models import ASKED, BOUGHT, FEW, MOODS, NUMBERS, SPENT, TABLE, TEXTS, inputs, mixed

COLUMNS = ["age", "income", "city"]
FITTED = TABLE[COLUMNS].assign(city=TABLE["city"].astype("category"))
ROWS = FEW[COLUMNS]
CATEGORICAL = ROWS.assign(city=ROWS["city"].astype(FITTED["city"].dtype))
QUIET = {"objective": "regression", "verbose": -1}
TREES = {"n_estimators": 10, "max_depth": 3}


def _xgboost(folder: Path) -> None:
    model = xgboost.XGBRegressor(**TREES, enable_categorical=True).fit(FITTED, SPENT)
    model.save_model(folder / "model.json")


def _xgboost_numbers(folder: Path) -> None:
    model = xgboost.XGBClassifier(**TREES).fit(NUMBERS, BOUGHT == "yes")
    model.save_model(folder / "model.ubj")


def _lightgbm(folder: Path) -> None:
    booster = lightgbm.train(QUIET, lightgbm.Dataset(FITTED, SPENT), 10)
    booster.save_model(str(folder / "model.txt"))


def _catboost(folder: Path) -> None:
    options = {"iterations": 10, "verbose": False, "allow_writing_files": False}
    model = CatBoostRegressor(**options, cat_features=["city"]).fit(TABLE[COLUMNS], SPENT)
    model.save_model(str(folder / "model.cbm"))


def _mlflow(folder: Path, *, signed: bool) -> None:
    model = make_pipeline(mixed(), LogisticRegression(max_iter=500)).fit(TABLE, BOUGHT)
    signature = infer_signature(TABLE, model.predict(TABLE)) if signed else None
    mlflow.sklearn.save_model(
        model, folder, signature=signature, serialization_format="cloudpickle"
    )


def _mlflow_texts(folder: Path) -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, MOODS)
    mlflow.sklearn.save_model(model, folder, serialization_format="cloudpickle")


def _loaded_xgboost(kind: Any, path: Path) -> Any:
    model = kind()
    model.load_model(path)
    return model


Case = tuple[Callable[[Path], None], Any, Callable[[Path], Any]]
CASES: dict[str, Case] = {
    "xgboost": (
        _xgboost,
        ROWS,
        lambda at: _loaded_xgboost(xgboost.XGBRegressor, at / "model.json").predict(CATEGORICAL),
    ),
    "xgboost-numbers": (
        _xgboost_numbers,
        NUMBERS.iloc[:4],
        lambda at: _loaded_xgboost(xgboost.XGBClassifier, at / "model.ubj").predict(
            NUMBERS.iloc[:4]
        ),
    ),
    "lightgbm": (
        _lightgbm,
        ROWS,
        lambda at: lightgbm.Booster(model_file=at / "model.txt").predict(CATEGORICAL),
    ),
    "catboost": (
        _catboost,
        ROWS,
        lambda at: CatBoost().load_model(str(at / "model.cbm")).predict(ROWS),
    ),
    "mlflow-signed": (
        lambda at: _mlflow(at, signed=True),
        FEW,
        lambda at: mlflow.pyfunc.load_model(str(at)).predict(FEW),
    ),
    "mlflow-unsigned": (
        lambda at: _mlflow(at, signed=False),
        FEW,
        lambda at: mlflow.pyfunc.load_model(str(at)).predict(FEW),
    ),
    "mlflow-texts": (
        _mlflow_texts,
        ASKED,
        lambda at: mlflow.pyfunc.load_model(str(at)).predict(ASKED),
    ),
}


def main(what: str, out: Path) -> None:
    if what == "ask":
        answers = {name: answer(out / name) for name, (_, _, answer) in CASES.items()}
        print(json.dumps({name: np.asarray(each).tolist() for name, each in answers.items()}))
        return
    for name, (save, rows, _) in CASES.items():
        (out / f"{name}.json").write_text(json.dumps(inputs(rows)))
        if not name.startswith("mlflow"):
            (out / name).mkdir()
        save(out / name)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
