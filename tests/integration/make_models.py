"""Trains a small model of each framework. Runs in the runtime's environment: imports nothing of Overbook.

    python make_models.py OUT

Writes OUT/NAME/... (the artifact) and OUT/NAME.json: rows and what this very model answers to them.
"""

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import lightgbm
import mlflow.sklearn
import numpy as np
import pandas as pd
import xgboost
from catboost import CatBoostClassifier, CatBoostRegressor
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

ROWS = 500
rng = np.random.default_rng(7)
x = rng.normal(size=(ROWS, 4)).astype(np.float32)
label = (x[:, 0] + x[:, 1] > 0).astype(int)
target = 3 * x[:, 0] - x[:, 2]
TREES = {"n_estimators": 20, "max_depth": 4}


def expect(out: Path, name: str, model: Any, answers: Any = None) -> Path:
    """The artifact's folder, made; what the model answers is remembered beside it."""
    rows = x[:20]
    said = model.predict(rows) if answers is None else answers
    (out / f"{name}.json").write_text(
        json.dumps({"rows": rows.tolist(), "answers": np.asarray(said).tolist()})
    )
    folder = out / name
    folder.mkdir()
    return folder


def main(out: Path) -> None:
    sorter = xgboost.XGBClassifier(**TREES).fit(x, label)
    sorter.save_model(expect(out, "xgboost-json", sorter) / "model.json")
    (expect(out, "xgboost-pickle", sorter) / "model.pkl").write_bytes(pickle.dumps(sorter))
    guesser = xgboost.XGBRegressor(**TREES).fit(x, target)
    guesser.save_model(expect(out, "xgboost-ubj", guesser) / "1.ubj")

    booster = lightgbm.train(
        {"objective": "regression", "verbose": -1}, lightgbm.Dataset(x, target), 20
    )
    booster.save_model(str(expect(out, "lightgbm-txt", booster) / "model.txt"))
    booster.save_model(str(expect(out, "lightgbm-bst", booster) / "model.bst"))

    options = {"iterations": 20, "verbose": False, "allow_writing_files": False}
    cat = CatBoostClassifier(**options).fit(x, label)
    cat.save_model(str(expect(out, "catboost-classifier", cat) / "model.cbm"))
    cats = CatBoostClassifier(**options).fit(x, np.where(label > 0, "yes", "no"))
    cats.save_model(str(expect(out, "catboost-words", cats) / "model.cbm"))
    dog = CatBoostRegressor(**options).fit(x, target)
    dog.save_model(str(expect(out, "catboost-regressor", dog) / "model.cbm"))

    logistic = LogisticRegression().fit(x, label)
    folder = expect(out, "mlflow-plain", logistic)
    folder.rmdir()
    mlflow.sklearn.save_model(logistic, folder)
    frame = pd.DataFrame(x, columns=list("abcd"))
    framed = LogisticRegression().fit(frame, label)
    folder = expect(out, "mlflow-signature", framed, framed.predict(frame[:20]))
    folder.rmdir()
    signature = infer_signature(frame, framed.predict(frame))
    mlflow.sklearn.save_model(framed, folder, signature=signature)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
