"""Says what a model that was just loaded wants to be given, as far as the model itself tells.

- Columns by name: scikit-learn, XGBoost, LightGBM and CatBoost keep the names of a table that they were fitted with.
- Texts: what a scikit-learn pipeline does first is to count words.
- An array with strings in it: what it does first is to encode categories that are strings.

Looks at objects that frameworks made, once for each load; reads no request. Models of the frameworks' own classes only:
who writes a class knows what it wants.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mlserver.model import MLModel
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.pipeline import FeatureUnion, Pipeline

# Estimators that hand on what they get, and where the one is that gets it: of several the first, as all get the same.
_INSIDE = ("best_estimator_", "estimator_", "regressor_", "estimators_", "calibrated_classifiers_")
# Of those, what may be in between.
_BETWEEN = "estimator"
_DEEPEST = 16
_NONE = (None, "passthrough", "drop")
# Frameworks that take strings in a table as categories of pandas only.
_CATEGORIES = ("xgboost.", "lightgbm.")


@dataclass(frozen=True)
class Columns:
    """One input for each column. ``required``: without these it cannot answer."""

    names: tuple[str, ...]
    required: frozenset[str]
    # It picks its columns by name, so an array is no use to it.
    never_array: bool = False
    # Strings are categories of pandas.
    categories: bool = False
    known: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", frozenset(self.names))


@dataclass(frozen=True)
class Texts:
    """One input with a text for each row. ``decodes``: it has its own way with bytes that are not UTF-8."""

    decodes: bool


@dataclass(frozen=True)
class StringArray:
    """One input, which may be of strings."""


Wanted = Columns | Texts | StringArray


def wanted(model: MLModel) -> Wanted | None:
    """What the model tells; None when it tells nothing."""
    look = _LOOKS.get(type(model).__module__.partition(".")[0])
    look = look or _LOOKS.get(type(model).__module__)
    if look is None:
        return None
    # What a pickle holds may do anything when it is looked at; then it tells nothing.
    with contextlib.suppress(Exception):
        return look(model)
    return None


def _of_estimator(estimator: Any) -> Wanted | None:
    takers = list(_takers(estimator))
    columns = _columns(estimator, takers)
    if columns is not None:
        return columns
    vectorizers = [each for each in takers if _counts_words(each)]
    if vectorizers:
        return Texts(all(map(_decodes, vectorizers)))
    return StringArray() if any(map(_has_string_categories, takers)) else None


def _columns(estimator: Any, takers: list[Any]) -> Columns | None:
    names = next((found for each in (estimator, *takers) if (found := _names(each))), ())
    if not names:
        return None
    transformers = [each for each in takers if isinstance(each, ColumnTransformer)]
    used = _used(transformers[0]) if len(takers) == len(transformers) == 1 else None
    return Columns(
        names,
        frozenset(names if used is None else used),
        never_array=any(map(_picks_by_name, transformers)),
        categories=any(type(each).__module__.startswith(_CATEGORIES) for each in takers),
    )


def _names(estimator: Any) -> tuple[str, ...]:
    try:
        found = estimator.feature_names_in_
    except AttributeError:
        return ()
    # NumPy's strings say so when they are shown.
    return tuple(map(str, found)) if all(isinstance(each, str) for each in found) else ()


def _takers(estimator: Any, depth: int = 0) -> Iterator[Any]:
    """The estimators inside which get the rows as they are sent; itself, if there are none inside."""
    inside: list[Any] = []
    if isinstance(estimator, Pipeline):
        inside = [step for _, step in estimator.steps if _acts(step)][:1]
    elif isinstance(estimator, FeatureUnion):
        inside = [step for _, step in estimator.transformer_list if _acts(step)]
    else:
        inside = next((found for name in _INSIDE if (found := _held(estimator, name))), [])
    if not inside or depth >= _DEEPEST:
        yield estimator
    for each in inside:
        yield from _takers(each, depth + 1)


def _held(estimator: Any, name: str) -> list[Any]:
    found = getattr(estimator, name, None)
    if isinstance(found, list):
        found = found[0] if found else None
    found = getattr(found, _BETWEEN, found) if name == "calibrated_classifiers_" else found
    return [found] if hasattr(found, "get_params") else []


def _acts(step: Any) -> bool:
    return not (step is None or (isinstance(step, str) and step in _NONE))


def _counts_words(estimator: Any) -> bool:
    # TfidfVectorizer is a CountVectorizer. Others are given names of files, or files.
    return (
        isinstance(estimator, CountVectorizer | HashingVectorizer) and estimator.input == "content"
    )


def _decodes(vectorizer: Any) -> bool:
    encoding = vectorizer.encoding.lower().replace("_", "-")
    return encoding not in ("utf-8", "utf8") or vectorizer.decode_error != "strict"


def _has_string_categories(estimator: Any) -> bool:
    if isinstance(estimator, ColumnTransformer):
        inside = [each for _, each, _ in estimator.transformers_ if _acts(each)]
        takers = [taker for each in inside for taker in _takers(each)]
        return any(_counts_words(each) or _has_string_categories(each) for each in takers)
    categories = getattr(estimator, "categories_", None)
    return isinstance(categories, list) and any(
        getattr(each, "dtype", None) is not None and each.dtype.kind in "OUT" for each in categories
    )


def _used(transformer: ColumnTransformer) -> set[str] | None:
    """The columns that it looks at: it asks for no others. None when it does not tell."""
    places = getattr(transformer, "_transformer_to_input_indices", None)
    names = getattr(transformer, "feature_names_in_", None)
    if places is None or names is None:
        return None
    return {
        str(names[place])
        for name, each, _ in transformer.transformers_
        if not (isinstance(each, str) and each == "drop")
        for place in places[name]
    }


def _picks_by_name(transformer: ColumnTransformer) -> bool:
    for _, _, columns in transformer.transformers_:
        first = columns if isinstance(columns, str) else next(iter(columns), None)
        if isinstance(first, str):
            return True
    return False


def _of_lightgbm(booster: Any) -> Columns | None:
    names = tuple(booster.feature_name())
    # What LightGBM calls the columns of an array.
    if names == tuple(f"Column_{number}" for number in range(len(names))):
        return None
    return Columns(names, frozenset(names), categories=True)


def _of_catboost(model: Any) -> Columns | None:
    names = tuple(model.feature_names_)
    # What CatBoost calls the columns of an array.
    if names == tuple(map(str, range(len(names)))):
        return None
    return Columns(names, frozenset(names))


def _of_mlflow(runtime: Any) -> Wanted | None:
    # A signature is the model's settings, as MLServer has it.
    if runtime._signature is not None:
        return None
    return _of_estimator(runtime._model.get_raw_model())


_LOOKS: dict[str, Callable[[Any], Wanted | None]] = {
    "mlserver_sklearn": lambda runtime: _of_estimator(runtime._model),
    "mlserver_xgboost": lambda runtime: _of_estimator(runtime._model),
    "mlserver_lightgbm": lambda runtime: _of_lightgbm(runtime._model),
    "overbook_mlserver.catboost": lambda runtime: _of_catboost(runtime._model),
    "mlserver_mlflow": _of_mlflow,
}
