"""The models that the corpus asks: each answers with what it was asked, so that nothing of a request goes unseen."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Final

import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression

# Of the protocol, and which NumPy type has the same bytes.
DATATYPES: Final = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BYTES": "O",
}
MLSERVER: Final = ("echo", "linear")
TRITON: Final = ("mirror", "scores", "running", "counter")

_ECHO: Final = """
    import mlserver
    from fastapi import HTTPException
    from mlserver.errors import InferenceError
    from mlserver.handlers import custom_handler
    from mlserver.types import InferenceResponse, Parameters, ResponseOutput


    class Echo(mlserver.MLModel):
        async def predict(self, payload):
            if not payload.inputs:
                return InferenceResponse(model_name=self.name, outputs=[])
            name = payload.inputs[0].name
            if name == "raise":
                raise RuntimeError("it broke: 100 % é")
            if name == "refuse":
                raise InferenceError("no: é %")
            if name == "teapot":
                raise HTTPException(status_code=418, detail="tea", headers={"x-tea": "green"})
            return self._answer(payload, "")

        async def predict_stream(self, payloads):
            async for payload in payloads:
                if payload.inputs[0].name == "refuse":
                    raise InferenceError("no: é %")
                for part in ("first", "second"):
                    yield self._answer(payload, part)

        def _answer(self, payload, part):
            asked = payload.parameters.model_dump(exclude_none=True)
            headers = asked.pop("headers", {})
            asked.pop("content_type", None)
            wanted = {each.name for each in payload.outputs or ()}
            back = {"x-mine": headers["x-mine"] + "!"} if "x-mine" in headers else None
            return InferenceResponse(
                model_name=self.name,
                parameters=Parameters(headers=back, part=part, type=headers.get("content-type"), **asked),
                outputs=[
                    ResponseOutput(
                        name=each.name,
                        shape=each.shape,
                        datatype=each.datatype,
                        data=each.data,
                        parameters=each.parameters,
                    )
                    for each in payload.inputs
                    if not wanted or each.name in wanted
                ],
            )

        @custom_handler(rest_path="/of/its/own/{word}")
        async def own(self, word: str) -> dict:
            return {"word": word}

        @custom_handler(rest_path="/v2/models/echo/own", rest_method="GET")
        async def own_and_named(self) -> dict:
            return {"name": self.name}
"""
_MIRROR: Final = """
    import numpy as np
    import triton_python_backend_utils as pb_utils


    class TritonPythonModel:
        def execute(self, requests):
            answers = []
            for request in requests:
                names = [each.name() for each in request.inputs()]
                if "FP64" in names:
                    value = pb_utils.get_input_tensor_by_name(request, "FP64").as_numpy()
                    if value.size and value.flat[0] == 13.0:
                        answers.append(
                            pb_utils.InferenceResponse(
                                error=pb_utils.TritonError("thirteen: é %", pb_utils.TritonError.INVALID_ARG)
                            )
                        )
                        continue
                outputs = [
                    pb_utils.Tensor(each.name(), each.as_numpy()) for each in request.inputs()
                ]
                said = request.parameters().encode()
                outputs.append(pb_utils.Tensor("parameters", np.array([said], dtype=np.object_)))
                answers.append(pb_utils.InferenceResponse(outputs))
            return answers
"""
_SCORES: Final = """
    import numpy as np
    import triton_python_backend_utils as pb_utils


    class TritonPythonModel:
        def execute(self, requests):
            answers = []
            for request in requests:
                x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
                answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("scores", x)]))
            return answers
"""
_RUNNING: Final = """
    import numpy as np
    import triton_python_backend_utils as pb_utils


    class TritonPythonModel:
        def initialize(self, args):
            self.sums = {}

        def execute(self, requests):
            answers = []
            for request in requests:
                x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
                start = pb_utils.get_input_tensor_by_name(request, "START").as_numpy().flat[0]
                who = int(pb_utils.get_input_tensor_by_name(request, "CORRID").as_numpy().flat[0])
                self.sums[who] = x + (0 if start else self.sums.get(who, 0))
                answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("sum", self.sums[who])]))
            return answers
"""
_COUNTER: Final = """
    import numpy as np
    import triton_python_backend_utils as pb_utils


    class TritonPythonModel:
        def execute(self, requests):
            for request in requests:
                sender = request.get_response_sender()
                count = pb_utils.get_input_tensor_by_name(request, "count").as_numpy().flat[0]
                for number in range(count):
                    tensor = pb_utils.Tensor("number", np.array([number], dtype=np.int32))
                    sender.send(pb_utils.InferenceResponse([tensor]))
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            return None
"""
_SCORES_CONFIG: Final = """
backend: "python"
max_batch_size: 4
input [{ name: "x" data_type: TYPE_FP32 dims: [3] }]
output [{ name: "scores" data_type: TYPE_FP32 dims: [3] label_filename: "labels.txt" }]
"""
_RUNNING_CONFIG: Final = """
backend: "python"
max_batch_size: 1
input [{ name: "x" data_type: TYPE_INT32 dims: [1] }]
output [{ name: "sum" data_type: TYPE_INT32 dims: [1] }]
sequence_batching {
  control_input [
    {
      name: "START"
      control [{ kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] }]
    },
    {
      name: "CORRID"
      control [{ kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 }]
    }
  ]
}
"""
_COUNTER_CONFIG: Final = """
backend: "python"
model_transaction_policy { decoupled: true }
input [{ name: "count" data_type: TYPE_INT32 dims: [1] }]
output [{ name: "number" data_type: TYPE_INT32 dims: [1] }]
"""


def make(folder: Path) -> dict[str, Path]:
    """All of them, by name."""
    echo = folder / "echo"
    echo.mkdir(parents=True)
    (echo / "model.py").write_text(textwrap.dedent(_ECHO))
    (echo / "model-settings.json").write_text(json.dumps({"implementation": "model.Echo"}))
    linear = folder / "linear"
    linear.mkdir()
    rows = np.arange(24.0).reshape(6, 4)
    fitted = LogisticRegression().fit(rows, [0, 0, 0, 1, 1, 1])
    joblib.dump(fitted, linear / "model.joblib")
    _triton(folder / "mirror", _mirror_config(), _MIRROR)
    _triton(folder / "scores", _SCORES_CONFIG, _SCORES)
    (folder / "scores" / "labels.txt").write_text("red\ngreen\nblue\n")
    _triton(folder / "running", _RUNNING_CONFIG, _RUNNING)
    _triton(folder / "counter", _COUNTER_CONFIG, _COUNTER)
    return {name: folder / name for name in (*MLSERVER, *TRITON)}


def _triton(folder: Path, config: str, code: str) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config)
    (folder / "1" / "model.py").write_text(textwrap.dedent(code))


def _mirror_config() -> str:
    def tensor(name: str, more: str = "") -> str:
        kind = "STRING" if name in ("BYTES", "parameters") else name
        return f'{{ name: "{name}" data_type: TYPE_{kind} dims: [-1, -1]{more} }}'

    inputs = ", ".join(tensor(name, " optional: true") for name in DATATYPES)
    outputs = ", ".join(
        [*map(tensor, DATATYPES), '{ name: "parameters" data_type: TYPE_STRING dims: [1] }']
    )
    return f'backend: "python"\ninput [{inputs}]\noutput [{outputs}]\n'
