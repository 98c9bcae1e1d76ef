"""Encodes answers that MLServer 1.7.1's own codecs cannot: columns of a DataFrame that pandas keeps in types of its own
(text, since pandas 3; nullable numbers, categories, moments of time), and missing values or text over gRPC.

What the codecs can encode goes out as it did. Of the rest:

- Text is BYTES with content type ``str``. With a missing value among it, MLServer's way for columns of mixed objects:
  each value as JSON, content type ``pd_json``.
- Numbers are what NumPy calls them. With a missing value they are FP64 and that one is null in JSON, NaN over gRPC.
- In an array of mixed objects, where there is no JSON around: each that is neither text nor bytes as JSON.
- A category is what it is a category of. Moments are BYTES in ISO 8601, content type ``datetime``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import mlserver.codecs.pandas as columns
import mlserver.grpc.converters as converters
import mlserver.raw as raw
import numpy as np
import pandas as pd
from mlserver.codecs.datetime import DatetimeCodec
from mlserver.codecs.json import encode_to_json
from mlserver.codecs.numpy import to_datatype
from mlserver.codecs.utils import inject_batch_dimension
from mlserver.types import Datatype, Parameters, ResponseOutput, TensorData

_NUMBERS = "biuf"
_OBJECTS = np.dtype(object)


def install() -> None:
    """From now on MLServer's codec for DataFrames and its conversions to gRPC's messages do as is said above."""
    columns._to_response_output = column
    converters.InferTensorContentsConverter.from_types = _contents
    raw._pack_tensor = _packed
    raw._ensure_bytes = element


def column(series: pd.Series, use_bytes: bool = True) -> ResponseOutput:
    """One column as an output of its name."""
    content_type = None
    if isinstance(series.dtype, pd.DatetimeTZDtype) or series.dtype.kind == "M":
        content_type = DatetimeCodec.ContentType
    plain = _plain(series)
    if plain.dtype != _OBJECTS:
        datatype = to_datatype(plain.dtype)
        data = plain.tolist()
        if plain.hasnans:
            data = [None if each != each else each for each in data]
    else:
        datatype = Datatype.BYTES
        data, found = columns._process_bytes(plain.tolist(), use_bytes)
        content_type = found and (content_type or found)
        if found is None:
            data = [columns.encode_to_json(each, use_bytes) for each in plain.tolist()]
            content_type = columns.PandasCodec.JsonContentType
    return ResponseOutput(
        name=series.name,
        shape=inject_batch_dimension(list(series.shape)),
        data=data,
        datatype=datatype,
        parameters=Parameters(content_type=content_type) if content_type else None,
    )


def _plain(series: pd.Series) -> pd.Series:
    """The same values in a type of NumPy's: numbers, or objects with None for what is missing."""
    dtype, gaps = series.dtype, bool(series.isna().any())
    if isinstance(dtype, pd.CategoricalDtype):
        return _plain(series.astype(object if gaps else dtype.categories.dtype).infer_objects())
    if isinstance(dtype, np.dtype) and dtype.kind in _NUMBERS:
        return series
    numbers = getattr(dtype, "numpy_dtype", _OBJECTS)
    if numbers.kind in _NUMBERS and not (gaps and numbers.kind == "b"):
        return pd.Series(
            series.to_numpy("float64", na_value=np.nan) if gaps else series.to_numpy(numbers)
        )
    kept = dtype == _OBJECTS or isinstance(dtype, pd.StringDtype) or numbers.kind == "b"
    values = [_known(each) if kept else _written(each) for each in series.tolist()]
    return pd.Series(values, dtype=object)


def _known(value: Any) -> Any:
    """None for what pandas calls missing: None, NaN, NaT or NA."""
    return None if pd.api.types.is_scalar(value) and pd.isna(value) else value


def _written(value: Any) -> str | None:
    """A moment, a duration, a period or the like, as text."""
    if _known(value) is None:
        return None
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


_as_before = converters.InferTensorContentsConverter.from_types


def _contents(type_object: Any, datatype: Datatype) -> Any:
    try:
        return _as_before(type_object, datatype)
    except TypeError:
        # JSON has null where these messages have NaN, and text where they have bytes.
        values = getattr(type_object, "root", type_object)
        if datatype == Datatype.BYTES:
            return _as_before(list(map(element, values)), datatype)
        return _as_before(_with_nan(values), datatype)


_packed_as_before = raw._pack_tensor


def _packed(tensor: Any) -> bytes:
    """A tensor as raw contents, which is how a request that has them is answered."""
    try:
        return _packed_as_before(tensor)
    except struct.error:
        tensor.data = TensorData.model_construct(root=_with_nan(tensor.data))
        return _packed_as_before(tensor)


def _with_nan(values: Iterable[Any]) -> list[Any]:
    """JSON has null where there is only a number here."""
    return [np.nan if each is None else each for each in values]


def element(value: Any) -> bytes:
    """One of BYTES where there is nothing but bytes: what is neither text nor bytes is JSON, as in a column of mixed
    objects.
    """
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    return encode_to_json(value)
