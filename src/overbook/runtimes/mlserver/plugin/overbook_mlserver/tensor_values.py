"""Reads the values of one input of a request, as sent in JSON, in binary form or over gRPC, with checks whose words a
client can act on.

Knows datatypes; knows no model. What is refused here is the client's fault and becomes a 400.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from mlserver.errors import InferenceError
from mlserver.types import RequestInput

_SHOWN = 8


def numbers(given: RequestInput, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """All of them, in a row. Raises InferenceError."""
    data = _data(given)
    try:
        values = np.asarray(data)
        if values.dtype.kind in "SU":
            raise ValueError("has strings")
        if dtype.kind in "iub" and values.size:
            values = _integers(values, data, dtype)
        return values.astype(dtype, copy=False).ravel()
    except (TypeError, ValueError, OverflowError) as error:
        raise bad(given, "data", f"not {datatype(given)} throughout: {error}") from None


def texts(given: RequestInput) -> list[str]:
    """All of them, in a row; bytes are UTF-8. Raises InferenceError."""
    return [_text(given, number, element) for number, element in enumerate(_flat(_data(given)))]


def texts_or_none(given: RequestInput) -> list[str | None]:
    """The same, where one may be missing: null in JSON."""
    return [
        None if element is None else _text(given, number, element)
        for number, element in enumerate(_flat(_data(given)))
    ]


def texts_or_bytes(given: RequestInput) -> list[str | bytes]:
    """The same, but what is not UTF-8 stays as it is."""
    found: list[str | bytes] = []
    for number, element in enumerate(_flat(_data(given))):
        try:
            found.append(_text(given, number, element))
        except InferenceError:
            if not isinstance(element, bytes):
                raise
            found.append(element)
    return found


def datatype(given: RequestInput) -> str:
    """What the protocol calls it."""
    return str(getattr(given.datatype, "value", given.datatype))


def bad(given: RequestInput, field: str, what: str) -> InferenceError:
    """The error to raise for an input."""
    return InferenceError(f"input {given.name!r}: {field}: {what}")


def listed(names: Iterable[str]) -> str:
    """Names for a message: all of a few, the first of many."""
    found = [repr(name) for name in names]
    if len(found) == 1:
        return found[0]
    return f"one of {shown(found)}"


def shown(found: list[str]) -> str:
    """All of a few, the first of many."""
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{', '.join(found[:_SHOWN])}{more}"


def _data(given: RequestInput) -> Any:
    return getattr(given.data, "root", given.data)


def _integers(
    values: np.ndarray[Any, Any], data: Any, dtype: np.dtype[Any]
) -> np.ndarray[Any, Any]:
    """NumPy would cut 1.5 to 1 and 300 to 44 without a word, and takes 0 beside 2**63 for floats."""
    if values.dtype.kind not in "iub":
        name, values = values.dtype.name, np.asarray(data, dtype=object)
        if not all(isinstance(each, int) for each in values.flat):
            raise ValueError(f"has {name} elements")
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if values.dtype.kind != "b" and (values.min() < low or values.max() > high):
        raise OverflowError(f"an element is outside {low} to {high}")
    return values


def _text(given: RequestInput, number: int, element: Any) -> str:
    if isinstance(element, str):
        return element
    if not isinstance(element, bytes):
        raise bad(given, "data", f"element {number} is {element!r}; expected a string")
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise bad(
            given,
            "data",
            f"element {number} is not UTF-8 (byte {error.start} is 0x{element[error.start]:02x}); "
            "this model takes text",
        ) from None


def _flat(data: Any) -> Iterator[Any]:
    if not isinstance(data, list):
        yield data
        return
    for each in data:
        if isinstance(each, list):
            yield from _flat(each)
        else:
            yield each
