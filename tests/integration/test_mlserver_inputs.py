"""Models are given what they themselves want, without a content type, and the same however the request is sent.

What they answer is compared with the same model in a process of its own, without a server.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from overbook.agent.servers.protocol import PreparedModel
from tests.integration import mlserver_harness
from tests.integration.infer_ways import ERROR, Ways

SCRIPT = Path(__file__).parent / "inside" / "told_models.py"
NAMES = (
    *("tfidf", "count", "hashing", "latin", "union", "searched", "voted", "topics"),
    *("mixed", "mixed-searched", "part", "ordinal", "categories", "numbers", "scaled"),
    *("array", "array-by-place", "plain", "series"),
)
# Their rows lack values, which not every form can say.
WITH_GAPS = ("gaps",)
WAYS = ("JSON", "binary", "gRPC", "raw gRPC")
TABLES = ("mixed", "mixed-searched", "ordinal", "categories", "numbers", "scaled")
# A class of somebody's own, with a model that tells what it wants: how it is asked is its own affair.
OWN = """
from mlserver.codecs import NumpyRequestCodec, StringCodec
from mlserver.types import InferenceResponse
from mlserver_sklearn import SKLearnModel


class Own(SKLearnModel):
    async def predict(self, payload):
        given = self.decode_request(payload, default_codec=NumpyRequestCodec)
        output = StringCodec.encode_output("given", [type(given).__name__])
        return InferenceResponse(model_name=self.name, outputs=[output])
"""


@dataclass(frozen=True, slots=True)
class Served:
    folder: Path
    ways: Ways
    expected: dict[str, dict[str, Any]]

    def request(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_text())
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """The models' folder, and what they answer by themselves."""
    folder = tmp_path_factory.mktemp("told")
    python = mlserver_harness.runtime().python
    for what in ("train", "ask"):
        done = subprocess.run(
            [python, "-I", "-W", "ignore", SCRIPT, what, folder],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(
    made: tuple[Path, dict[str, dict[str, Any]]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    folder, expected = made
    server = mlserver_harness.server(tmp_path_factory.mktemp("server"))
    try:
        await server.start(timeout=60)
        for name in (*NAMES, *WITH_GAPS):
            await server.load(PreparedModel(name, 1, folder / name), timeout=60)
        (folder / "own").mkdir()
        (folder / "own" / "model.py").write_text(OWN)
        (folder / "own" / "model-settings.json").write_text('{"implementation": "model.Own"}')
        shutil.copy(folder / "numbers" / "model.joblib", folder / "own")
        await server.load(PreparedModel("own", 1, folder / "own"), timeout=60)
        ways = Ways(server.addresses.rest, server.addresses.grpc)
        yield Served(folder, ways, expected)
        ways.close()
    finally:
        await server.close()


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys(), found
    for name, values in expected.items():
        is_text = isinstance(values[0], str)
        assert found[name] == (values if is_text else pytest.approx(np.array(values))), name


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_it_answers_as_in_a_process_of_its_own(served: Served, name: str, way: str) -> None:
    request = served.request(name)
    same(served.ways.all[way](name, **request), served.expected[name])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TABLES)
def test_columns_are_put_right_by_name(served: Served, name: str, way: str) -> None:
    request = served.request(name)
    request["inputs"].reverse()
    same(served.ways.all[way](name, **request), served.expected[name])


def test_null_is_a_missing_value(served: Served) -> None:
    same(served.ways.json("gaps", **served.request("gaps")), served.expected["gaps"])


@pytest.mark.parametrize("way", WAYS[1:])
def test_a_number_that_is_none_is_a_missing_value(served: Served, way: str) -> None:
    request = served.request("gaps")
    for column in request["inputs"]:
        # The rows in which numbers are missing, of which no more can be said in these forms.
        number = column["datatype"] == "FP64"
        column["data"] = [
            math.nan if number and each is None else each for each in column["data"][:2]
        ]
        column["shape"] = [2]
    expected = {name: values[:2] for name, values in served.expected["gaps"].items()}
    same(served.ways.all[way]("gaps", **request), expected)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [[3, 1], [1, 3]])
def test_texts_of_any_shape_that_is_a_row_or_a_column(
    served: Served, way: str, shape: list[int]
) -> None:
    request = served.request("tfidf")
    request["inputs"][0]["shape"] = shape
    same(served.ways.all[way]("tfidf", **request), served.expected["tfidf"])


@pytest.mark.parametrize("way", WAYS)
def test_an_array_of_all_columns_goes_as_it_is(served: Served, way: str) -> None:
    columns = [each["data"] for each in served.request("numbers")["inputs"]]
    rows = [value for row in zip(*columns, strict=True) for value in row]
    tensor = {"name": "x", "datatype": "FP64", "shape": [4, 2], "data": [float(r) for r in rows]}
    same(served.ways.all[way]("numbers", [tensor]), served.expected["numbers"])


@pytest.mark.parametrize("way", WAYS)
def test_a_column_that_no_transformer_looks_at_may_come_along(served: Served, way: str) -> None:
    columns = [*served.request("part")["inputs"], served.request("mixed")["inputs"][1]]
    same(served.ways.all[way]("part", columns), served.expected["part"])


def _column(name: str, data: list[Any], datatype: str = "BYTES", **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data)], "data": data, **more}


AGES, INCOMES = _column("age", [1, 2], "INT64"), _column("income", [1.5, 2.5], "FP64")
CITIES, REVIEWS = _column("city", ["Oslo", "Rome"]), _column("review", ["good", "bad"])
REFUSED: dict[str, tuple[str, list[dict[str, Any]], str]] = {
    "a missing column": (
        "mixed",
        [AGES, INCOMES, CITIES],
        "inputs: missing 'review'; this model takes the columns 'age', 'income', 'city', 'review'",
    ),
    "a single column of several": (
        "numbers",
        [AGES],
        "inputs: missing 'income'; this model takes the columns 'age', 'income'",
    ),
    "an unknown column": (
        "numbers",
        [AGES, INCOMES, _column("town", ["x", "y"])],
        "inputs[2].name: 'town'; expected one of 'age', 'income'",
    ),
    "no known column": (
        "numbers",
        [_column("a", [1, 2], "INT64"), INCOMES],
        "inputs[0].name: 'a'; expected one of 'age', 'income'",
    ),
    "a column twice": ("numbers", [AGES, INCOMES, AGES], "inputs[2].name: 'age' is given twice"),
    "columns of other lengths": (
        "numbers",
        [AGES, _column("income", [1.5], "FP64")],
        "input 'income': shape: 1 rows; 'age' has 2, expected the same",
    ),
    "a column that is a table": (
        "numbers",
        [AGES, {**INCOMES, "shape": [1, 2]}],
        "input 'income': shape: [1, 2]; expected [rows] or [rows, 1] of a column",
    ),
    "an array where columns have names": (
        "mixed",
        [_column("x", [1.0, 2.0, 3.0, 4.0], "FP64", shape=[1, 4])],
        "inputs[0].name: 'x'; this model takes its columns by name: expected one input for each of "
        "'age', 'income', 'city', 'review'",
    ),
    "numbers to texts": (
        "tfidf",
        [_column("x", [1.0], "FP64")],
        "input 'x': datatype: FP64; expected BYTES: this model takes text",
    ),
    "a table to texts": (
        "tfidf",
        [CITIES, REVIEWS],
        "inputs: 'city', 'review'; expected one input of BYTES, with a text for each row",
    ),
    "a square of texts": (
        "tfidf",
        [_column("x", ["a", "b", "c", "d"], shape=[2, 2])],
        "input 'x': shape: [2, 2]; expected [rows] or [rows, 1]: a text each",
    ),
}
NOT_UTF8 = b"sch\xf6n"
IN_BYTES = {
    "texts": (
        "tfidf",
        [_column("x", ["good", NOT_UTF8])],
        "input 'x': data: element 1 is not UTF-8 (byte 3 is 0xf6); this model takes text",
    ),
    "a column": (
        "mixed",
        [AGES, INCOMES, _column("city", [NOT_UTF8, "Oslo"]), REVIEWS],
        "input 'city': data: element 0 is not UTF-8 (byte 3 is 0xf6); this model takes text",
    ),
    "an array": (
        "array",
        [_column("x", ["Oslo", NOT_UTF8], shape=[1, 2])],
        "input 'x': data: element 1 is not UTF-8 (byte 3 is 0xf6); this model takes text",
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused_by_name(served: Served, what: str, way: str) -> None:
    model, inputs, expected = REFUSED[what]
    assert served.ways.all[way](model, inputs) == {ERROR: expected}


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize("what", IN_BYTES)
def test_bytes_that_are_no_text_are_refused_by_name(served: Served, what: str, way: str) -> None:
    model, inputs, expected = IN_BYTES[what]
    assert served.ways.all[way](model, inputs) == {ERROR: expected}


@pytest.mark.parametrize("way", WAYS[1:])
def test_bytes_reach_a_model_that_reads_another_encoding(served: Served, way: str) -> None:
    inputs = [_column("x", ["good", NOT_UTF8 + b" and bad"])]
    assert served.ways.all[way]("latin", inputs) == {"predict": ["good", "bad"]}


def _said(column: dict[str, Any], content_type: str) -> dict[str, Any]:
    return {**column, "parameters": {"content_type": content_type}}


@pytest.mark.parametrize("way", WAYS)
def test_a_content_type_that_is_said_holds(served: Served, way: str) -> None:
    ask = served.ways.all[way]
    texts = served.request("tfidf")["inputs"][0]
    same({**ask("tfidf", [_said(texts, "str")])}, {"predict": served.expected["tfidf"]["predict"]})
    # Base64 of "good": as text it would be a word that the model has never seen.
    encoded = _said(_column("x", ["Z29vZA==", "YmFk"]), "base64")
    assert ask("tfidf", [encoded]) == {"predict": ["good", "bad"]}
    table = served.request("mixed")
    table["inputs"] = [
        _said(each, "str") if each["datatype"] == "BYTES" else _said(each, "np")
        for each in table["inputs"]
    ]
    same(ask("mixed", **table), served.expected["mixed"])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TABLES)
def test_a_request_that_says_it_is_a_table_is_the_same_table(
    served: Served, name: str, way: str
) -> None:
    request = served.request(name)
    request["inputs"].reverse()
    found = served.ways.all[way](name, **request, content_type="pd")
    same(found, served.expected[name])


@pytest.mark.parametrize("way", WAYS)
def test_a_table_that_is_said_to_be_one_may_have_more_columns_as_in_scikit_learn(
    served: Served, way: str
) -> None:
    request = served.request("mixed")
    request["inputs"].append(_column("town", ["a", "b", "c", "d"]))
    request["inputs"] = [
        _said(each, "str") if each["datatype"] == "BYTES" else each for each in request["inputs"]
    ]
    found = served.ways.all[way]("mixed", **request, content_type="pd")
    same(found, served.expected["mixed"])


def test_a_class_of_ones_own_is_asked_as_it_asks_to_be(served: Served) -> None:
    one = _column("age", [1.0, 2.0], "FP64")
    assert served.ways.json("own", [one]) == {"given": ["ndarray"]}
