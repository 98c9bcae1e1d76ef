"""Every codec of MLServer's works with the pandas and NumPy that are pinned beside it, over REST and gRPC."""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from overbook.agent.servers.protocol import PreparedModel
from tests.integration import mlserver_harness
from tests.integration.infer_ways import Ways

SCRIPT = Path(__file__).parent / "inside" / "codecs.py"
COLUMNS = {
    "text": "BYTES ['a', 'ß']",
    "text, one missing": "BYTES ['a', None]",
    "objects that are text": "BYTES ['a', 'b']",
    "pandas' own string": "BYTES ['a', 'b']",
    "bytes": "BYTES ['a', 'b']",
    "mixed": "BYTES ['a', 1]",
    "lists": "BYTES [[1, 2], [3]]",
    "int64": "INT64 [1, 2]",
    "int8": "INT8 [1, 2]",
    "uint16": "UINT16 [1, 2]",
    "float32": "FP32 [1.5, 2.5]",
    "float64, one missing": "FP64 [1.5, None]",
    "bool": "BOOL [True, False]",
    "nullable integer": "INT64 [1, 2]",
    "nullable integer, one missing": "FP64 [1.0, None]",
    "nullable float": "FP32 [1.5, 2.5]",
    "nullable bool": "BOOL [True, False]",
    "nullable bool, one missing": "BYTES [True, None]",
    "category of text": "BYTES ['a', 'b']",
    "category of numbers": "INT64 [3, 4]",
    "category, one missing": "BYTES ['a', None]",
    "moments": "BYTES ['2020-01-02T00:00:00', '2021-03-04T00:00:00']",
    "moments with a zone": "BYTES ['2020-01-02T00:00:00+00:00', '2021-03-04T00:00:00+00:00']",
    "moments, one missing": "BYTES ['2020-01-02T00:00:00', None]",
    "durations": "BYTES ['P0DT0H0M1S', 'P0DT0H0M2S']",
}
ARRAYS = {
    "bool": "BOOL [True, False]",
    "int8": "INT8 [1, 0]",
    "int64": "INT64 [1, 0]",
    "uint32": "UINT32 [1, 0]",
    "float32": "FP32 [1.5, 0.0]",
    "float64": "FP64 [1.5, 0.0]",
    "float64, one missing": "FP64 [1.5, None]",
    "text": "BYTES ['a', 'ß']",
    "objects that are text": "BYTES ['a', 'ß']",
}
ONE = {
    "np": "[array([1.5]), array([2.5])]",
    "str": "['a', 'ß']",
    "base64": r"[b'a', b'\xff']",
    "datetime": "[datetime.datetime(2020, 1, 2, 0, 0, tzinfo=datetime.timezone.utc)]",
}

Answers = dict[str, dict[str, dict[str, str]]]


@pytest.fixture(scope="module")
def found() -> Answers:
    runtime = mlserver_harness.runtime()
    command = [*map(str, (runtime.python, "-I", SCRIPT, runtime.plugin))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    answers: Answers = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("way", ["rest", "grpc"])
@pytest.mark.parametrize(
    ("codec", "expected"),
    [("pd", COLUMNS), ("np", ARRAYS), ("one", ONE), ("request", {"str": "BYTES ['a', 'ß']"})],
)
def test_what_a_client_reads(
    found: Answers, codec: str, expected: dict[str, str], way: str
) -> None:
    assert {name: answer[way] for name, answer in found[codec].items()} == expected


_MODEL = """
import numpy as np
import pandas as pd
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, PandasCodec
from mlserver.types import InferenceResponse


class Model(MLModel):
    async def predict(self, payload):
        if payload.outputs:
            mixed = np.array(["ß", b"b", 1, None], dtype=object)
            output = NumpyCodec.encode_output("mixed", mixed)
            return InferenceResponse(model_name=self.name, outputs=[output])
        frame = pd.DataFrame({"label": ["a", "ß"], "p": [0.5, None], "note": ["x", None]})
        return PandasCodec.encode_response(self.name, frame)
"""


async def test_a_frame_with_text_comes_back_from_the_server(tmp_path: Path) -> None:
    artifact = tmp_path / "frame"
    artifact.mkdir()
    (artifact / "model.py").write_text(_MODEL)
    (artifact / "model-settings.json").write_text('{"implementation": "model.Model"}')
    server = mlserver_harness.server(tmp_path / "server")
    tensor = {"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}
    try:
        await server.start(timeout=60)
        await server.load(PreparedModel("frame", 1, artifact), timeout=30)
        with closing(Ways(server.addresses.rest, server.addresses.grpc)) as ways:
            for way, ask in ways.all.items():
                found = ask("frame", [tensor])
                assert found["label"] == ["a", "ß"], way
                assert found["note"] == ['"x"', "null"], way
                assert str(found["p"]) == ("[0.5, None]" if way == "JSON" else "[0.5, nan]"), way
                mixed = ["ß", "b", 1, None] if way == "JSON" else ["ß", "b", "1", "null"]
                assert ask("frame", [tensor], ["mixed"])["mixed"] == mixed, way
    finally:
        await server.close()
