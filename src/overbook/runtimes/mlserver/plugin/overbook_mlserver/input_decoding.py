"""Gives a model its inputs in the form that the model itself wants, where nobody says another.

MLServer makes one NumPy array of a request's only input, unless the request or the model's settings say a content type.
That is wrong for a pipeline of texts, to which gRPC brings bytes, and for one that was fitted with a table. What a
model wants is found when it is loaded (`model_inputs`); the requests of models that tell nothing are MLServer's alone,
and so are those in which somebody says a content type: for the request, or for its only input. The type of one input
of a table is that column's. ``pd`` for the request says that it is a table, and nothing of its columns.

What is refused here becomes a 400 that says what was expected.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections.abc import Sequence
from typing import Any

import mlserver.codecs.pandas as columns
import numpy as np
import pandas as pd
from mlserver.codecs.utils import decode_request_input
from mlserver.errors import InferenceError
from mlserver.model import MLModel
from mlserver.types import InferenceRequest, RequestInput

from overbook_mlserver.model_inputs import Columns, StringArray, Texts, Wanted, wanted
from overbook_mlserver.tensor_values import (
    bad,
    datatype,
    listed,
    numbers,
    shown,
    texts,
    texts_or_bytes,
    texts_or_none,
)

_BYTES = "BYTES"
_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    **{f"UINT{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
}


def install(model: MLModel) -> None:
    """The model was just loaded: from now on it decodes requests as is said above."""
    found = wanted(model)
    if found is not None:
        # Not the model itself: the two would hold each other, and an unload would not free it at once.
        model.decode_request = functools.partial(_decode, weakref.ref(model), found)


def _decode(
    held: weakref.ref[MLModel],
    form: Wanted,
    request: InferenceRequest,
    default_codec: Any = None,
) -> Any:
    model = held()
    assert model is not None, "it decodes its own requests"
    said = _said(model, request)
    if not said:
        decoded = _in_form(model, form, request)
        if decoded is not None:
            return decoded
    elif said == columns.PandasCodec.ContentType and _has_all(request, form):
        # As MLServer does, but that bytes are text and no column is in another's place.
        return _table(model, request.inputs, form)
    return type(model).decode_request(model, request, default_codec)


def _said(model: MLModel, request: InferenceRequest) -> str | None:
    """The content type that anybody says for all of the request."""
    settings = model.settings.parameters
    return (
        _content_type(request)
        or (settings.content_type if settings is not None else None)
        or (_said_of(model, request.inputs[0]) if len(request.inputs) == 1 else None)
    )


def _has_all(request: InferenceRequest, form: Wanted) -> bool:
    """Whether the inputs are the columns of the table that the model was fitted with."""
    names = [given.name for given in request.inputs]
    return isinstance(form, Columns) and (
        len(set(names)) == len(names) and form.required <= set(names) <= form.known
    )


def _said_of(model: MLModel, given: RequestInput) -> str | None:
    described = model._inputs_index.get(given.name)
    return _content_type(given) or (_content_type(described) if described is not None else None)


def _content_type(what: Any) -> str | None:
    found: str | None = what.parameters.content_type if what.parameters is not None else None
    return found


def _in_form(model: MLModel, form: Wanted, request: InferenceRequest) -> Any:
    """None where MLServer is to do it."""
    given = request.inputs
    match form:
        case Columns():
            if len(given) != 1 or _is_column(given[0], form):
                return _table(model, given, form)
        case Texts():
            return _texts(given, form)
        case StringArray():
            if len(given) == 1 and datatype(given[0]) == _BYTES:
                return _string_array(given[0])
    return None


def _is_column(given: RequestInput, form: Columns) -> bool:
    """Whether a request's only input is a column of a table, and not all of it as an array."""
    if given.name in form.known and (len(form.names) == 1 or _is_vector(given.shape)):
        return True
    if form.never_array:
        raise InferenceError(
            f"inputs[0].name: {given.name!r}; this model takes its columns by name: expected one input "
            f"for each of {_these(form.names)}"
        )
    return False


def _table(model: MLModel, inputs: Sequence[RequestInput], form: Columns) -> pd.DataFrame:
    by_name: dict[str, pd.Series] = {}
    for number, given in enumerate(inputs):
        if given.name not in form.known:
            raise InferenceError(
                f"inputs[{number}].name: {given.name!r}; expected {listed(form.names)}"
            )
        if given.name in by_name:
            raise InferenceError(f"inputs[{number}].name: {given.name!r} is given twice")
        column = _column(model, given)
        if by_name and len(column) != (rows := len(next(iter(by_name.values())))):
            raise bad(
                given,
                "shape",
                f"{len(column)} rows; {inputs[0].name!r} has {rows}, expected the same",
            )
        is_text = form.categories and not pd.api.types.is_numeric_dtype(column.dtype)
        by_name[given.name] = column.astype("category") if is_text else column
    missing = [name for name in form.names if name in form.required and name not in by_name]
    if missing:
        raise InferenceError(
            f"inputs: missing {_these(missing)}; this model takes the columns {_these(form.names)}"
        )
    # By position what is right by name would be a silent mistake, or refused.
    return pd.DataFrame({name: by_name[name] for name in form.names if name in by_name})


def _column(model: MLModel, given: RequestInput) -> pd.Series:
    if _said_of(model, given):
        decode_request_input(given, model._inputs_index)
        return columns._to_series(given)
    if not _is_vector(given.shape):
        raise bad(given, "shape", f"{list(given.shape)}; expected [rows] or [rows, 1] of a column")
    if datatype(given) == _BYTES:
        values: Any = texts_or_none(given)
    elif (dtype := _DTYPES.get(datatype(given))) is not None:
        values = numbers(given, dtype)
    else:
        raise bad(given, "datatype", f"{datatype(given)}; expected {listed([*_DTYPES, _BYTES])}")
    _check_count(given, len(values))
    return pd.Series(values)


def _texts(inputs: Sequence[RequestInput], form: Texts) -> list[Any]:
    if len(inputs) != 1:
        raise InferenceError(
            f"inputs: {_these([each.name for each in inputs])}; expected one input of {_BYTES}, "
            "with a text for each row"
        )
    given = inputs[0]
    if datatype(given) != _BYTES:
        raise bad(given, "datatype", f"{datatype(given)}; expected {_BYTES}: this model takes text")
    if math.prod(given.shape) != max(given.shape, default=1):
        raise bad(given, "shape", f"{list(given.shape)}; expected [rows] or [rows, 1]: a text each")
    found: list[Any] = texts_or_bytes(given) if form.decodes else list(texts(given))
    _check_count(given, len(found))
    return found


def _string_array(given: RequestInput) -> np.ndarray[Any, Any]:
    found = texts(given)
    _check_count(given, len(found))
    return np.array(found, dtype=str).reshape(given.shape)


def _is_vector(shape: Sequence[int]) -> bool:
    return len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)


def _check_count(given: RequestInput, count: int) -> None:
    expected = math.prod(given.shape)
    if count != expected:
        raise bad(given, "data", f"{count} elements; shape {list(given.shape)} takes {expected}")


def _these(names: Sequence[str]) -> str:
    return shown([repr(name) for name in names])
