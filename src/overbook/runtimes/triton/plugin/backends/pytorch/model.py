"""Triton's `pytorch` backend where only its Python backend is there: TorchScript through PyTorch's wheel.

Takes the model folders, tensor names and parameters of NVIDIA's native backend for `pytorch_libtorch`: inputs
NAME__INDEX, or the arguments of `forward`, or else in the order of the configuration; outputs NAME__INDEX or
in the order of the configuration.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import Any

_HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.append(os.path.join(os.path.dirname(_HERE), "support"))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from overbook_backend import (  # noqa: E402
    Arrays,
    InputProblem,
    Settings,
    Tensor,
    answer,
    read_settings,
    thread_limit,
)

_INDEXED = re.compile(r".*__(\d+)")
_KINDS = {
    "TYPE_BOOL": torch.bool,
    "TYPE_UINT8": torch.uint8,
    "TYPE_INT8": torch.int8,
    "TYPE_INT16": torch.int16,
    "TYPE_INT32": torch.int32,
    "TYPE_INT64": torch.int64,
    "TYPE_FP16": torch.float16,
    "TYPE_FP32": torch.float32,
    "TYPE_FP64": torch.float64,
}
_STRING = "TYPE_STRING"


class TritonPythonModel:
    """One instance of one model."""

    def initialize(self, args: dict[str, str]) -> None:
        self.settings = settings = read_settings(args)
        if settings.raw.get("platform") == "torch_aoti":
            raise settings.refuse("platform torch_aoti is not supported, expected pytorch_libtorch")
        path = settings.model_file("model.pt")
        if not path.is_file():
            raise settings.refuse(f"unable to find {path}")
        for tensor in (*settings.inputs, *settings.outputs):
            if tensor.data_type not in _KINDS and tensor.data_type != _STRING:
                raise settings.refuse(
                    f"{tensor.name!r} has data_type {tensor.data_type}, "
                    f"expected one of {', '.join(_KINDS)}, {_STRING}"
                )
        _set_threads(settings)
        try:
            self.module = torch.jit.load(str(path), map_location="cpu").eval()
        except Exception as error:
            raise settings.refuse(f"cannot load {path.name} as TorchScript: {error}") from error
        self.as_dictionary = _takes_dictionary(self.module)
        self.order = () if self.as_dictionary else _argument_order(settings, self.module)
        self.inference_mode = settings.flag("INFERENCE_MODE", True)
        self.optimized = not settings.flag("DISABLE_OPTIMIZED_EXECUTION", False)

    def execute(self, requests: list[Any]) -> list[Any]:
        return answer(self.settings, requests, self._run)

    def finalize(self) -> None:
        del self.module

    def _run(self, inputs: Arrays, wanted: Sequence[str]) -> Arrays:
        arguments = self._arguments(inputs)
        guard = torch.inference_mode() if self.inference_mode else torch.no_grad()
        try:
            with guard, torch.jit.optimized_execution(self.optimized):
                result = self.module(*arguments)
        except RuntimeError as error:
            raise InputProblem(f"PyTorch execute failure: {_last_line(error)}") from error
        return {name: self._output(name, result) for name in wanted}

    def _arguments(self, inputs: Arrays) -> list[Any]:
        given = {name: _to_torch(array) for name, array in inputs.items()}
        if self.as_dictionary:
            return [given]
        missing = [name for name in self.order if name not in given]
        if missing:
            raise InputProblem(f"input {', '.join(missing)} is missing")
        return [given[name] for name in self.order]

    def _output(self, name: str, result: Any) -> np.ndarray:
        if isinstance(result, dict):
            if name not in result:
                raise RuntimeError(f"the model gave no output {name!r}, but {', '.join(result)}")
            return _to_numpy(result[name])
        names = [each.name for each in self.settings.outputs]
        single = isinstance(result, torch.Tensor) or (
            isinstance(result, list) and all(isinstance(each, str) for each in result)
        )
        results = (result,) if single else tuple(result)
        matched = _INDEXED.fullmatch(name)
        index = int(matched.group(1)) if matched else names.index(name)
        if index >= len(results):
            raise RuntimeError(f"output {name!r} is not there: the model gave {len(results)}")
        return _to_numpy(results[index])


def _set_threads(settings: Settings) -> None:
    intra = settings.number("NUM_THREADS", settings.number("INTRA_OP_THREAD_COUNT", thread_limit()))
    inter = settings.number(
        "NUM_INTEROP_THREADS", settings.number("INTER_OP_THREAD_COUNT", thread_limit())
    )
    if intra > 0:
        torch.set_num_threads(intra)
    if inter > 0:
        torch.set_num_interop_threads(inter)


def _arguments_of(module: Any) -> list[Any]:
    return [each for each in module.forward.schema.arguments if each.name != "self"]


def _takes_dictionary(module: Any) -> bool:
    arguments = _arguments_of(module)
    return len(arguments) == 1 and arguments[0].type.kind() == "DictType"


def _argument_order(settings: Settings, module: Any) -> tuple[str, ...]:
    """Names of the configured inputs in the order that `forward` takes them."""
    inputs: tuple[Tensor, ...] = settings.inputs
    names = [each.name for each in inputs]
    arguments = [each.name for each in _arguments_of(module)]
    if set(names) <= set(arguments):
        return tuple(name for name in arguments if name in names)
    indexed = [(_INDEXED.fullmatch(name), name) for name in names]
    if all(matched for matched, _ in indexed):
        return tuple(
            name for matched, name in sorted(indexed, key=lambda each: int(each[0].group(1)))
        )
    return tuple(names)


def _to_torch(array: np.ndarray) -> Any:
    if array.dtype == np.object_:
        if array.ndim != 1:
            raise InputProblem(
                f"a string tensor has shape {list(array.shape)}, expected one dimension"
            )
        return [each.decode() if isinstance(each, bytes) else str(each) for each in array]
    # Triton's buffer is not ours to write to.
    return torch.from_numpy(np.array(array, copy=True))


def _to_numpy(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().contiguous().numpy()
    made = np.empty(len(value), dtype=np.object_)
    made[:] = list(value)
    return made


def _last_line(error: Exception) -> str:
    """TorchScript puts the program's text before what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
