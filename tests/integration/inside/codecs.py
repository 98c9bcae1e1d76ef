"""What MLServer's codecs make of values, in its own environment: prints {codec: {value: {way: answer}}} as JSON.

python codecs.py PLUGIN_FOLDER

Each value is encoded as an answer, sent as JSON and as a message of gRPC, and decoded again: the way of a client that
uses the same codec. An answer is the values as text, or the error's name and text.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

sys.path.insert(0, sys.argv[1])

import numpy as np
import pandas as pd
from mlserver.codecs import (
    Base64Codec,
    DatetimeCodec,
    NumpyCodec,
    NumpyRequestCodec,
    PandasCodec,
    StringCodec,
    StringRequestCodec,
)
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.converters import ModelInferResponseConverter as Converter
from mlserver.rest.responses import Response
from mlserver.types import InferenceResponse
from overbook_mlserver import codecs

COLUMNS: dict[str, Any] = {
    "text": pd.Series(["a", "ß"]),
    "text, one missing": pd.Series(["a", None]),
    "objects that are text": pd.Series(["a", "b"], dtype=object),
    "pandas' own string": pd.Series(["a", "b"], dtype="string"),
    "bytes": pd.Series([b"a", b"b"]),
    "mixed": pd.Series(["a", 1], dtype=object),
    "lists": pd.Series([[1, 2], [3]]),
    "int64": pd.Series([1, 2]),
    "int8": pd.Series([1, 2], dtype="int8"),
    "uint16": pd.Series([1, 2], dtype="uint16"),
    "float32": pd.Series([1.5, 2.5], dtype="float32"),
    "float64, one missing": pd.Series([1.5, None]),
    "bool": pd.Series([True, False]),
    "nullable integer": pd.Series([1, 2], dtype="Int64"),
    "nullable integer, one missing": pd.Series([1, None], dtype="Int64"),
    "nullable float": pd.Series([1.5, 2.5], dtype="Float32"),
    "nullable bool": pd.Series([True, False], dtype="boolean"),
    "nullable bool, one missing": pd.Series([True, None], dtype="boolean"),
    "category of text": pd.Series(["a", "b"], dtype="category"),
    "category of numbers": pd.Series([3, 4], dtype="category"),
    "category, one missing": pd.Series(["a", None], dtype="category"),
    "moments": pd.Series(pd.to_datetime(["2020-01-02", "2021-03-04"])),
    "moments with a zone": pd.Series(pd.to_datetime(["2020-01-02", "2021-03-04"], utc=True)),
    "moments, one missing": pd.Series(pd.to_datetime(["2020-01-02", None])),
    "durations": pd.Series(pd.to_timedelta([1, 2], unit="s")),
}
ARRAYS: dict[str, Any] = {
    **{name: np.array([[1, 0]], dtype=name) for name in ("bool", "int8", "int64", "uint32")},
    **{name: np.array([[1.5, 0]], dtype=name) for name in ("float32", "float64")},
    "float64, one missing": np.array([[1.5, np.nan]]),
    "text": np.array(["a", "ß"]),
    "objects that are text": np.array(["a", "ß"], dtype=object),
}
MOMENT = datetime(2020, 1, 2, tzinfo=UTC)


def sent_as_json(answer: InferenceResponse) -> InferenceResponse:
    body = Response(None).render(answer.model_dump())
    return InferenceResponse.model_validate(json.loads(body))


def sent_over_grpc(answer: InferenceResponse) -> InferenceResponse:
    message = Converter.from_types(answer).SerializeToString()
    return Converter.to_types(pb.ModelInferResponse.FromString(message))


WAYS: dict[str, Callable[[InferenceResponse], InferenceResponse]] = {
    "rest": sent_as_json,
    "grpc": sent_over_grpc,
}


def answers(encode: Callable[[], InferenceResponse], decode: Any) -> dict[str, str]:
    found = {}
    for way, send in WAYS.items():
        try:
            found[way] = decode(send(encode()))
        except Exception as error:
            found[way] = f"{type(error).__name__}: {error}"
    return found


def response(output: Any) -> InferenceResponse:
    return InferenceResponse(model_name="m", outputs=[output])


def frame(series: Any) -> dict[str, str]:
    def decode(answer: InferenceResponse) -> str:
        return f"{answer.outputs[0].datatype} {_plain(PandasCodec.decode_response(answer)['c'].tolist())}"

    return answers(lambda: PandasCodec.encode_response("m", pd.DataFrame({"c": series})), decode)


def wire(codec: Any, value: Any) -> dict[str, str]:
    """What is on the wire, where MLServer's own client cannot read text of more than one length."""

    def decode(answer: InferenceResponse) -> str:
        output = answer.outputs[0]
        return f"{output.datatype} {_plain(list(output.data))}"

    return answers(lambda: codec.encode_response("m", value), decode)


def single(codec: Any, value: Any) -> dict[str, str]:
    def decode(answer: InferenceResponse) -> str:
        return str(list(codec.decode_output(answer.outputs[0])))

    return answers(lambda: response(codec.encode_output("o", value)), decode)


def _plain(values: list[Any]) -> list[Any]:
    """Bytes as text, and None for NaN, which pandas has for None in some of its versions."""
    plain = [each.decode() if isinstance(each, bytes) else each for each in values]
    return [None if each != each else each for each in plain]


codecs.install()
print(
    json.dumps(
        {
            "pd": {name: frame(series) for name, series in COLUMNS.items()},
            "np": {name: wire(NumpyRequestCodec, array) for name, array in ARRAYS.items()},
            "one": {
                "np": single(NumpyCodec, np.array([1.5, 2.5])),
                "str": single(StringCodec, ["a", "ß"]),
                "base64": single(Base64Codec, [b"a", b"\xff"]),
                "datetime": single(DatetimeCodec, [MOMENT]),
            },
            "request": {"str": wire(StringRequestCodec, ["a", "ß"])},
        }
    )
)
