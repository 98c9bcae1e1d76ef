"""Models that tell what they want to be given, and what they answer. Runs in the runtime's environment: imports nothing
of Overbook.

    python told_models.py train OUT      # OUT/NAME/ is the artifact, OUT/NAME.rows what it is to be asked
    python told_models.py ask OUT        # in a process of its own: prints {NAME: {OUTPUT: values}}
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor, VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

rng = np.random.default_rng(3)
TEXTS = [
    "good film",
    "bad film",
    "schöner Film, good",
    "grässlich, bad",
    "very good",
    "very bad",
] * 5
MOODS = ["good", "bad", "good", "bad", "good", "bad"] * 5
ASKED = ["good", "a bad one", "schön and good"]
ROWS = 90
TABLE = pd.DataFrame(
    {
        "age": rng.integers(18, 80, ROWS),
        "income": rng.normal(50.0, 20.0, ROWS),
        "city": rng.choice(["Köln", "Rome", "Oslo"], ROWS),
        "review": rng.choice(["good one", "bad one", "so so"], ROWS),
    }
)
NUMBERS = TABLE[["age", "income"]]
BOUGHT = np.where((TABLE["age"] > 45) ^ (TABLE["city"] == "Köln"), "yes", "no")
SPENT = TABLE["income"] * 2 - TABLE["age"]
FEW = TABLE.iloc[:4]
# In the first rows a value of each kind is missing.
GAPS = TABLE[["age", "income", "city"]].astype({"age": float})
GAPS.loc[0, "age"] = GAPS.loc[1, "income"] = np.nan
GAPS.loc[2, "city"] = None
ARRAY = TABLE[["city", "review"]].to_numpy(dtype=object)


def mixed() -> Any:
    return make_column_transformer(
        (StandardScaler(), ["income", "age"]),
        (OneHotEncoder(handle_unknown="ignore"), ["city"]),
        (TfidfVectorizer(), "review"),
    )


def _texts(vectorizer: Any, last: Any) -> Any:
    return make_pipeline(vectorizer, last).fit(TEXTS, MOODS)


def models() -> dict[str, tuple[Any, Any, tuple[str, ...]]]:
    """The model, what it is asked, and which outputs."""
    frame = pd.DataFrame({"age": TABLE["age"], "city": TABLE["city"].astype("category")})
    scaled = make_pipeline(StandardScaler().set_output(transform="pandas")).fit(NUMBERS)
    counts = ("predict", "predict_proba")
    logistic = {"max_iter": 500}
    return {
        "tfidf": (_texts(TfidfVectorizer(), LogisticRegression()), ASKED, counts),
        "count": (_texts(CountVectorizer(), MultinomialNB()), ASKED, counts),
        "hashing": (_texts(HashingVectorizer(n_features=64), LogisticRegression()), ASKED, counts),
        "latin": (
            _texts(CountVectorizer(encoding="latin-1"), LogisticRegression()),
            ASKED,
            counts,
        ),
        "union": (
            _texts(
                make_union(CountVectorizer(), TfidfVectorizer(analyzer="char")), MultinomialNB()
            ),
            ASKED,
            counts,
        ),
        "searched": (
            GridSearchCV(
                make_pipeline(TfidfVectorizer(), LogisticRegression()),
                {"logisticregression__C": [1.0, 2.0]},
                cv=2,
            ).fit(TEXTS, MOODS),
            ASKED,
            counts,
        ),
        "voted": (
            VotingClassifier(
                [("a", _texts(TfidfVectorizer(), LogisticRegression()))], voting="soft"
            ).fit(TEXTS, MOODS),
            ASKED,
            counts,
        ),
        "topics": (
            make_pipeline(CountVectorizer(), TruncatedSVD(2, random_state=0)).fit(TEXTS),
            ASKED,
            ("transform",),
        ),
        "mixed": (
            make_pipeline(mixed(), LogisticRegression(**logistic)).fit(TABLE, BOUGHT),
            FEW,
            counts,
        ),
        "mixed-searched": (
            GridSearchCV(
                make_pipeline(mixed(), LogisticRegression(**logistic)),
                {"logisticregression__C": [1.0]},
                cv=2,
            ).fit(TABLE, BOUGHT),
            FEW,
            counts,
        ),
        "gaps": (
            make_pipeline(
                make_column_transformer(
                    (SimpleImputer(), ["age", "income"]),
                    (
                        make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()),
                        ["city"],
                    ),
                ),
                LogisticRegression(**logistic),
            ).fit(GAPS, BOUGHT),
            GAPS.iloc[:4],
            counts,
        ),
        "part": (
            make_pipeline(
                make_column_transformer((OneHotEncoder(), ["city"])), LinearRegression()
            ).fit(TABLE, SPENT),
            FEW[["city"]],
            ("predict",),
        ),
        "ordinal": (
            make_pipeline(
                OrdinalEncoder(), HistGradientBoostingClassifier(max_iter=5, random_state=0)
            ).fit(TABLE[["city", "review"]], BOUGHT),
            FEW[["city", "review"]],
            counts,
        ),
        "categories": (
            HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(frame, BOUGHT),
            FEW[["age", "city"]].assign(city=FEW["city"].astype(frame["city"].dtype)),
            counts,
        ),
        "numbers": (
            RandomForestRegressor(5, random_state=0).fit(NUMBERS, SPENT),
            NUMBERS.iloc[:4],
            ("predict",),
        ),
        "scaled": (scaled, NUMBERS.iloc[:4], ("transform",)),
        "array": (
            make_pipeline(OneHotEncoder(), LogisticRegression()).fit(ARRAY, BOUGHT),
            ARRAY[:4],
            counts,
        ),
        "array-by-place": (
            make_pipeline(
                make_column_transformer((OneHotEncoder(), [0]), (TfidfVectorizer(), 1)),
                LogisticRegression(),
            ).fit(ARRAY, BOUGHT),
            ARRAY[:4],
            counts,
        ),
        "plain": (
            LogisticRegression(**logistic).fit(NUMBERS.to_numpy(), BOUGHT),
            NUMBERS.to_numpy()[:4],
            counts,
        ),
        # Classes that pandas keeps as text.
        "series": (
            LogisticRegression(**logistic).fit(NUMBERS.to_numpy(), TABLE["city"]),
            NUMBERS.to_numpy()[:4],
            counts,
        ),
    }


def train(out: Path) -> None:
    for name, (model, rows, outputs) in models().items():
        (out / name).mkdir()
        joblib.dump(model, out / name / "model.joblib")
        (out / f"{name}.rows").write_bytes(pickle.dumps((rows, outputs)))
        (out / f"{name}.json").write_text(json.dumps({"inputs": inputs(rows), "outputs": outputs}))


def inputs(rows: Any) -> list[dict[str, Any]]:
    """As the protocol has it; data is flat."""
    if isinstance(rows, list):
        return [{"name": "x", "datatype": "BYTES", "shape": [len(rows)], "data": rows}]
    if isinstance(rows, np.ndarray):
        kind = "FP64" if rows.dtype.kind == "f" else "BYTES"
        tensor = {"name": "x", "datatype": kind, "shape": list(rows.shape)}
        return [{**tensor, "data": rows.ravel().tolist()}]
    kinds = {"i": "INT64", "f": "FP64"}
    return [
        {
            "name": name,
            "datatype": kinds.get(rows[name].dtype.kind, "BYTES"),
            "shape": [len(rows), 1],
            "data": [None if pd.isna(each) else each for each in rows[name]],
        }
        for name in rows
    ]


def ask(out: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(out.glob("*.rows")):
        rows, outputs = pickle.loads(path.read_bytes())
        model = joblib.load(out / path.stem / "model.joblib")
        answers = {name: getattr(model, name)(rows) for name in outputs}
        if isinstance(frame := answers[outputs[0]], pd.DataFrame):
            answers = {name: frame[name].to_numpy() for name in frame}
        found[path.stem] = {name: np.asarray(each).tolist() for name, each in answers.items()}
    return found


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train(Path(sys.argv[2]))
    else:
        print(json.dumps(ask(Path(sys.argv[2]))))
