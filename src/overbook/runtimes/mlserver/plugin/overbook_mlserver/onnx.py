"""Serves ONNX models with ONNX Runtime on the CPU, many in one process.

``"implementation": "overbook_mlserver.onnx.OnnxModel"``; a plain artifact with an ONNX file gets it by itself.

- Memory is given back. No arena: it would keep what the largest request so far took, for as long as the model
  lives. Measured: ten loads and unloads of an 84 MB model end where the first ended, to the megabyte.
- ONNX Runtime lets go of the interpreter lock while it loads and while it runs. A prediction that is expected to
  take longer than a hop to another thread and back runs there, so that it never holds up other models' requests;
  a short one runs where it is, which is quicker.
- Its threads do not spin: they would take the CPU from the next model.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime
from mlserver.errors import InferenceError, MLServerError
from mlserver.model import MLModel
from mlserver.types import InferenceRequest, InferenceResponse

from overbook_mlserver import calls
from overbook_mlserver.offload import LoadFailed
from overbook_mlserver.onnx_tensors import Tensor, decode, describe, encode, matched
from overbook_mlserver.prediction_cost import PredictionCost
from overbook_mlserver.tensor_values import listed
from overbook_mlserver.threads import threads

# What ONNX Runtime says beside its reason: its own codes, the file, and places in its source.
_NOISE = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?"
    r"|/onnxruntime_src/\S+:\d+ .*?\) (?=\w)",
    re.DOTALL,
)
_OUT_OF_MEMORY = re.compile(r"bad_alloc|[Ff]ailed to allocate|out of memory")
_pool = ThreadPoolExecutor(max(2, os.cpu_count() or 2), thread_name_prefix="onnx")
onnxruntime.set_default_logger_severity(3)


class OnnxModel(MLModel):
    async def load(self) -> bool:
        path = _path(self.settings.parameters.uri if self.settings.parameters else None)
        try:
            session = onnxruntime.InferenceSession(
                path, _options(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise LoadFailed(f"{os.path.basename(path)}: {_reason(error)}") from None
        self._take(session, os.path.basename(path))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        feed, elements = self._feed(payload)
        wanted = self._wanted(payload)
        names = [tensor.name for tensor in wanted]
        if self._pace.is_short(elements):
            found = self._run(names, feed, elements)
        else:
            loop = asyncio.get_running_loop()
            run = calls.within(self._run)
            found = await loop.run_in_executor(_pool, run, names, feed, elements)
        return InferenceResponse.model_construct(
            model_name=self.name,
            model_version=self.version,
            id=None,
            parameters=None,
            outputs=[encode(tensor, values) for tensor, values in zip(wanted, found, strict=True)],
        )

    def _take(self, session: Any, file: str) -> None:
        required = session.get_inputs()
        optional = session.get_overridable_initializers()
        for argument in required:
            if describe(argument) is None:
                raise LoadFailed(
                    f"{file}: input {argument.name!r} is {argument.type}, which the protocol has no type for"
                )
        self._required = [each for each in map(describe, required) if each is not None]
        self._accepted = [*self._required, *filter(None, map(describe, optional))]
        # Others, such as the list of dictionaries that a classifier's ZipMap makes, are left out of answers.
        arguments = session.get_outputs()
        self._given: dict[str, Tensor] = {
            each.name: each for each in map(describe, arguments) if each is not None
        }
        if not self._given:
            kinds = ", ".join(f"{each.name!r} is {each.type}" for each in arguments)
            raise LoadFailed(f"{file}: no output that the protocol has a type for: {kinds}")
        self._session = session
        self._pace = PredictionCost()
        self.inputs = self.inputs or [each.metadata() for each in self._required]
        self.outputs = self.outputs or [each.metadata() for each in self._given.values()]

    def _feed(self, payload: InferenceRequest) -> tuple[dict[str, np.ndarray[Any, Any]], int]:
        """What the session takes, and how many elements that is. Raises InferenceError."""
        tensors = matched(payload.inputs, self._accepted)
        feed = {
            tensor.name: decode(given, tensor)
            for given, tensor in zip(payload.inputs, tensors, strict=True)
        }
        missing = [tensor.name for tensor in self._required if tensor.name not in feed]
        if missing:
            raise InferenceError(f"inputs: {listed(missing)} is missing")
        return feed, sum(array.size for array in feed.values())

    def _wanted(self, payload: InferenceRequest) -> list[Tensor]:
        if not payload.outputs:
            return list(self._given.values())
        for number, output in enumerate(payload.outputs):
            if output.name not in self._given:
                raise InferenceError(
                    f"outputs[{number}].name: {output.name!r}; expected {listed(self._given)}"
                )
        return [self._given[output.name] for output in payload.outputs]

    def _run(
        self, names: list[str], feed: dict[str, np.ndarray[Any, Any]], elements: int
    ) -> list[np.ndarray[Any, Any]]:
        begun = time.perf_counter()
        try:
            found: list[np.ndarray[Any, Any]] = self._session.run(names, feed)
        except Exception as error:
            if _OUT_OF_MEMORY.search(str(error)):
                raise MLServerError(_reason(error), 500) from None
            raise InferenceError(_reason(error)) from None
        self._pace.took(elements, time.perf_counter() - begun)
        return found


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _path(uri: str | None) -> str:
    if uri and os.path.isdir(uri):
        found = sorted(name for name in os.listdir(uri) if name.endswith(".onnx"))
        if "model.onnx" in found or len(found) == 1:
            return os.path.join(uri, "model.onnx" if "model.onnx" in found else found[0])
        raise LoadFailed(f"expected model.onnx or a single *.onnx file; found {found or 'none'}")
    return uri or "model.onnx"


def _reason(error: Exception) -> str:
    """ONNX Runtime's reason on one line, without its codes, paths and C++."""
    text = " ".join(_NOISE.sub("", str(error)).split())
    return text or type(error).__name__
