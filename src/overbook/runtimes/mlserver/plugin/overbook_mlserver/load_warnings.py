"""Gathers what frameworks warn of while a model is loaded: that it was saved with another version, mostly. What such a
model raises when it is asked says so, too.

They warn by Python's warnings, which are shown once for each line of code and text, or in a log of their own. Both stay
as they are; here is noted what came while one model was loaded, whichever thread that was in.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

# Warnings of one load that are told, and characters of each.
_MOST = 5
_LONGEST = 400
_LOGS = ("mlflow",)

_SAVED_WITH = "saved with scikit-learn"
# What code raises that meets an object of another version.
_OF_VERSIONS = (AttributeError, TypeError)
# Models that another version saved, and in words which.
_differing: WeakKeyDictionary[object, str] = WeakKeyDictionary()

_gathered: ContextVar[list[str] | None] = ContextVar("gathered", default=None)
_shown = warnings.showwarning


def install() -> None:
    """From now on `gathering` gathers."""
    warnings.showwarning = _show
    for name in _LOGS:
        logging.getLogger(name).addHandler(_Listener(logging.WARNING))


@contextlib.contextmanager
def gathering() -> Iterator[list[str]]:
    """What is warned of inside, in words, each text once."""
    found: list[str] = []
    # To change the filters makes Python forget what it has shown: another model's load may have warned of the same.
    warnings.filterwarnings("default", category=UserWarning)
    token = _gathered.set(found)
    try:
        yield found
    finally:
        _gathered.reset(token)


def remember(model: object, warned: list[str]) -> None:
    """The model was loaded, with these warnings."""
    if versions := next((each for each in warned if _SAVED_WITH in each), ""):
        _differing[model] = versions.partition(": ")[2].partition(":")[0]


def explain(model: object, error: Exception) -> None:
    """Add to an error of its code, where that may be why, that another version saved the model."""
    versions = _differing.get(model)
    if versions and isinstance(error, _OF_VERSIONS):
        error.args = (f"{error}; the model was {versions}",)


def _note(text: str) -> None:
    found = _gathered.get()
    line = " ".join(text.encode("utf-8", "replace").decode().split())[:_LONGEST]
    if found is not None and len(found) < _MOST and line not in found:
        found.append(line)


def _show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
    # Others are for those who write code, not for those who run it.
    if issubclass(category, UserWarning):
        _note(f"{category.__name__}: {_told(message)}")
    _shown(message, category, *place, **more)


def _told(message: Any) -> str:
    """What scikit-learn says of each estimator in a pipeline, in words that are the same for all of them."""
    saved = getattr(message, "original_sklearn_version", None)
    if saved is None:
        return str(message)
    here = getattr(message, "current_sklearn_version", "another")
    return f"{_SAVED_WITH} {saved}, but {here} is installed here: it may fail, or answer wrongly"


class _Listener(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            _note(f"{record.name}: {record.getMessage()}")
