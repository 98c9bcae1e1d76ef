"""What is warned of during one load is gathered for that load alone, in whichever thread, and however often."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.runtimes.plugins import plugin_module


class OtherVersion(UserWarning):
    """As scikit-learn has one."""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    # pytest has its own ideas of warnings; the module changes filters and the hook for good.
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        made = plugin_module("mlserver", "overbook_mlserver/load_warnings.py")
        monkeypatch.setattr(made, "_shown", lambda *_args, **_more: None)
        made.install()
        yield made
    handlers = logging.getLogger("mlflow").handlers
    handlers[:] = [each for each in handlers if type(each).__name__ != "_Listener"]


class OfOneEstimator(UserWarning):
    original_sklearn_version, current_sklearn_version = "1.6.1", "1.9.1"


def load(text: str = "saved with 1.6.1") -> None:
    warnings.warn(text, OtherVersion, stacklevel=1)
    warnings.warn("old", DeprecationWarning, stacklevel=1)


def test_the_second_model_with_the_same_is_told_too(module: Any) -> None:
    for _ in range(2):
        with module.gathering() as found:
            load()
            load()
        assert found == ["OtherVersion: saved with 1.6.1"]
    load()
    assert len(found) == 1


def test_estimators_that_the_same_version_saved_are_told_once(module: Any) -> None:
    with module.gathering() as found:
        for name in ("StandardScaler", "LogisticRegression"):
            warnings.warn(OfOneEstimator(f"{name} from version 1.6.1"), stacklevel=1)
    assert found == [
        "OfOneEstimator: saved with scikit-learn 1.6.1, but 1.9.1 is installed here: it may fail, or answer wrongly"
    ]


def test_what_a_model_of_another_version_raises_says_so(module: Any) -> None:
    class Model:
        pass

    other, same = Model(), Model()
    with module.gathering() as found:
        warnings.warn(OfOneEstimator("LogisticRegression"), stacklevel=1)
    module.remember(other, found)
    module.remember(same, [])

    def explained(model: Model, error: Exception) -> str:
        module.explain(model, error)
        return str(error)

    said = (
        "no attribute 'x'; the model was saved with scikit-learn 1.6.1, but 1.9.1 is installed here"
    )
    assert explained(other, AttributeError("no attribute 'x'")) == said
    assert explained(other, ValueError("3 columns")) == "3 columns", "that is of the request"
    assert explained(same, AttributeError("no attribute 'x'")) == "no attribute 'x'"


async def test_each_load_hears_its_own(module: Any) -> None:
    async def loading(text: str) -> list[str]:
        with module.gathering() as found:
            await asyncio.to_thread(load, text)
            await asyncio.sleep(0)
        return list(found)

    told = await asyncio.gather(loading("a"), loading("b"))
    assert list(told) == [["OtherVersion: a"], ["OtherVersion: b"]]


def test_logs_of_frameworks_count_and_all_is_bounded(module: Any) -> None:
    log = logging.getLogger("mlflow.utils.requirements_utils")
    with module.gathering() as found:
        log.warning("mismatches:\n - scikit-learn (current: %s)", "1.9.1")
        log.info("nothing")
        for number in range(20):
            load(f"{number} " + "x" * 1000)
    assert (
        found[0] == "mlflow.utils.requirements_utils: mismatches: - scikit-learn (current: 1.9.1)"
    )
    assert len(found) == 5
    assert max(map(len, found)) == 400
