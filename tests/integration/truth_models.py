"""The models of `test_truth`: one of each kind, small, and the runtimes that serve them all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.zoo import EXTRAS, Plan
from overbook.runtimes.install import install

PLANS = (
    Plan("linear", "linear", 3),
    Plan("forest", "forest", 2),
    Plan("forest-large", "forest", 6),
    Plan("boosting", "boosting", 2),
    Plan("neighbours", "neighbours", 3),
    Plan("text", "text", 4),
    Plan("xgboost", "xgboost", 2),
    Plan("lightgbm", "lightgbm", 2),
    Plan("catboost", "catboost", 2),
    Plan("mlflow", "mlflow", 2),
    Plan("custom", "custom", 4),
    Plan("onnx", "onnx", 4),
    Plan("triton-onnx", "triton-onnx", 4),
    Plan("triton-saved", "triton-savedmodel", 4),
    Plan("triton-python", "triton-python", 8),
)


@contextmanager
def runtimes_in(folder: Path) -> Iterator[None]:
    """Environments with all that these models need, made there and not where people keep theirs: what `overbook up`
    installs by itself must not depend on who ran the tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVERBOOK_RUNTIMES_DIR", str(folder))
        install("mlserver", lambda _message, _fraction: None, extras=frozenset(EXTRAS))
        install("triton", lambda _message, _fraction: None)
        yield
