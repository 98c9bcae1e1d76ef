"""Makes one large model of a framework. Runs in MLServer's environment: imports nothing of Overbook.

python large_models.py FRAMEWORK FOLDER MEGABYTES
"""

import sys
from pathlib import Path

import joblib
import numpy as np
from sklearn.ensemble import RandomForestRegressor

_FEATURES = 4
_LEAVES = 4096
# Measured: what a tree of so many leaves takes in each format, in bytes.
_SKLEARN_TREE, _LIGHTGBM_TREE, _XGBOOST_TREE = 1_180_000, 406_000, 279_000


def _data(rows: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    inputs = random.normal(size=(rows, _FEATURES))
    return inputs, random.normal(size=rows)


def sklearn(folder: Path, size: int) -> None:
    """A forest whose trees are as deep as noise makes them."""
    forest = RandomForestRegressor(max(1, size // _SKLEARN_TREE), random_state=1)
    joblib.dump(forest.fit(*_data(13_000)), folder / "model.joblib")


def lightgbm(folder: Path, size: int) -> None:
    import lightgbm as lgb

    settings = {
        "num_leaves": _LEAVES,
        "min_data_in_leaf": 1,
        "verbose": -1,
        "num_threads": 1,
        "max_bin": 15,
    }
    inputs, answers = _data(20_000)
    model = lgb.train(settings, lgb.Dataset(inputs, answers), max(1, size // _LIGHTGBM_TREE))
    model.save_model(folder / "model.bst")


def xgboost(folder: Path, size: int) -> None:
    import xgboost as xgb

    settings = {"max_leaves": _LEAVES, "grow_policy": "lossguide", "max_depth": 0, "nthread": 1,
                "tree_method": "hist", "min_child_weight": 0, "max_bin": 15}  # fmt: skip
    inputs, answers = _data(20_000)
    model = xgb.train(settings, xgb.DMatrix(inputs, answers), max(1, size // _XGBOOST_TREE))
    model.save_model(folder / "model.ubj")


MAKERS = {"sklearn": sklearn, "lightgbm": lightgbm, "xgboost": xgboost}

if __name__ == "__main__":
    target = Path(sys.argv[2])
    target.mkdir(parents=True)
    MAKERS[sys.argv[1]](target, int(sys.argv[3]) * 1_000_000)
