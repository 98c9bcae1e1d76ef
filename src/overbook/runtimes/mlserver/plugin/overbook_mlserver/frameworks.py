"""Which frameworks a process imports before it does anything else, so that no model's first load pays for them (1 to
3 s), and no model is taken for as large as its framework.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys

_ALWAYS = (
    "joblib",
    "mlserver_sklearn",
    "sklearn.cluster",
    "sklearn.compose",
    "sklearn.decomposition",
    "sklearn.discriminant_analysis",
    "sklearn.ensemble",
    "sklearn.experimental.enable_iterative_imputer",
    "sklearn.feature_extraction.text",
    "sklearn.feature_selection",
    "sklearn.impute",
    "sklearn.isotonic",
    "sklearn.linear_model",
    "sklearn.mixture",
    "sklearn.model_selection",
    "sklearn.multiclass",
    "sklearn.multioutput",
    "sklearn.naive_bayes",
    "sklearn.neighbors",
    "sklearn.neural_network",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "sklearn.svm",
    "sklearn.tree",
)
# The same for what the runtime's extras bring, each only where it is installed.
_EXTRAS = {
    "onnxruntime": ("overbook_mlserver.onnx",),
    "mlserver_xgboost": ("mlserver_xgboost",),
    "mlserver_lightgbm": ("mlserver_lightgbm",),
    "mlserver_catboost": ("overbook_mlserver.catboost",),
    "mlserver_mlflow": ("mlserver_mlflow", "mlflow.sklearn", "mlflow.pyfunc.model", "skops.io"),
}


def import_all() -> None:
    """Import what is installed. What cannot be imported is told on standard error and left out."""
    for module in _ALWAYS:
        importlib.import_module(module)
    for package, modules in _EXTRAS.items():
        if importlib.util.find_spec(package) is None:
            continue
        for module in modules:
            try:
                importlib.import_module(module)
            except Exception as error:
                # Models that need it will be refused with this reason; the others shall not miss their server.
                print(f"cannot import {module}: {error}", file=sys.stderr)
