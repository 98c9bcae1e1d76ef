"""Makes the models of docs/sending-data.md: `python sending_models.py FOLDER`.

Runs in an environment with scikit-learn, pandas, XGBoost, LightGBM and MLflow, such as that of the runtime, and imports
nothing of Overbook. Data is made up.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import joblib
import lightgbm
import mlflow.sklearn
import numpy as np
import pandas as pd
import xgboost
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

ROWS = 400
CITIES = ["Köln", "Oslo", "Rome"]
# What a file begins with says what it is.
PICTURES = """
from mlserver import MLModel
from mlserver.codecs import Base64Codec, StringCodec
from mlserver.types import InferenceResponse


class Pictures(MLModel):
    async def predict(self, payload):
        files = self.decode(payload.inputs[0], default_codec=Base64Codec)
        kinds = ["PNG" if each.startswith(b"\\x89PNG") else "unknown" for each in files]
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("kind", kinds)])
"""
KINDS = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            files = pb_utils.get_input_tensor_by_name(request, "file").as_numpy()
            kinds = [b"PNG" if each.startswith(b"\\x89PNG") else b"unknown" for each in files]
            answers.append(
                pb_utils.InferenceResponse([pb_utils.Tensor("kind", np.array(kinds, dtype=object))])
            )
        return answers
"""
KINDS_CONFIG = """
backend: "python"
input [{ name: "file" data_type: TYPE_STRING dims: [-1] }]
output [{ name: "kind" data_type: TYPE_STRING dims: [-1] }]
"""


def main(out: Path) -> None:
    def folder(name: str) -> Path:
        (out / name).mkdir(parents=True)
        return out / name

    flowers = load_iris()
    species = np.array(flowers.target_names)[flowers.target]
    iris = LogisticRegression(max_iter=500).fit(flowers.data, species)
    joblib.dump(iris, folder("iris") / "model.joblib")

    texts = ["a great film", "great fun", "a dull film", "dull and long", "schön", "schade"]
    moods = ["good", "good", "bad", "bad", "good", "bad"]
    reviews = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, moods)
    joblib.dump(reviews, folder("reviews") / "model.joblib")

    random = np.random.default_rng(1)
    table = pd.DataFrame(
        {"age": random.integers(18, 80, ROWS), "city": random.choice(CITIES, ROWS)}
    )
    leaves = np.where((table["age"] < 30) | (table["city"] == "Oslo"), "leaves", "stays")
    columns = make_column_transformer((StandardScaler(), ["age"]), (OneHotEncoder(), ["city"]))
    churn = make_pipeline(columns, LogisticRegression()).fit(table, leaves)
    joblib.dump(churn, folder("churn") / "model.joblib")

    size = random.integers(20, 200, ROWS)
    homes = pd.DataFrame(
        {"size": size, "city": pd.Categorical(random.choice(CITIES, ROWS), CITIES)}
    )
    price = 3.0 * size + 100.0 * homes["city"].cat.codes
    trees = xgboost.XGBRegressor(n_estimators=50, enable_categorical=True).fit(homes, price)
    trees.save_model(folder("prices") / "model.json")
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(homes, price), 50)
    booster.save_model(str(folder("prices-lightgbm") / "model.txt"))

    rides = pd.DataFrame(
        {"km": random.uniform(1.0, 30.0, ROWS), "night": random.random(ROWS) < 0.5}
    )
    fare = LinearRegression().fit(rides, 3.0 + 2.0 * rides["km"] + 5.0 * rides["night"])
    mlflow.sklearn.save_model(
        fare,
        out / "fares",
        signature=infer_signature(rides, fare.predict(rides)),
        serialization_format="cloudpickle",
    )

    pictures = folder("pictures")
    (pictures / "model.py").write_text(PICTURES)
    (pictures / "model-settings.json").write_text('{"implementation": "model.Pictures"}')
    (folder("kinds") / "config.pbtxt").write_text(textwrap.dedent(KINDS_CONFIG))
    (folder("kinds/1") / "model.py").write_text(KINDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
