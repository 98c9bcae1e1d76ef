"""From tensors of the protocol to those of ONNX Runtime and back, with checks whose words a client can act on.

Knows names, shapes and types; runs nothing. What is refused here is the client's fault and becomes a 400.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mlserver.errors import InferenceError
from mlserver.types import MetadataTensor, RequestInput, ResponseOutput, TensorData

from overbook_mlserver.tensor_values import bad, listed, numbers, texts

# ONNX Runtime's name of a type: the protocol's, and NumPy's. BFLOAT16 and the like have no NumPy type there.
_TYPES = {
    "tensor(bool)": ("BOOL", np.dtype(np.bool_)),
    "tensor(uint8)": ("UINT8", np.dtype(np.uint8)),
    "tensor(uint16)": ("UINT16", np.dtype(np.uint16)),
    "tensor(uint32)": ("UINT32", np.dtype(np.uint32)),
    "tensor(uint64)": ("UINT64", np.dtype(np.uint64)),
    "tensor(int8)": ("INT8", np.dtype(np.int8)),
    "tensor(int16)": ("INT16", np.dtype(np.int16)),
    "tensor(int32)": ("INT32", np.dtype(np.int32)),
    "tensor(int64)": ("INT64", np.dtype(np.int64)),
    "tensor(float16)": ("FP16", np.dtype(np.float16)),
    "tensor(float)": ("FP32", np.dtype(np.float32)),
    "tensor(double)": ("FP64", np.dtype(np.float64)),
    "tensor(string)": ("BYTES", np.dtype(object)),
}


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model. ``shape``: -1 where any size goes; None where any shape does."""

    name: str
    datatype: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...] | None

    def metadata(self) -> MetadataTensor:
        return MetadataTensor(name=self.name, datatype=self.datatype, shape=list(self.shape or ()))


def describe(argument: Any) -> Tensor | None:
    """A ``NodeArg`` of ONNX Runtime; None for what the protocol cannot carry (sequences, maps, BFLOAT16)."""
    known = _TYPES.get(argument.type)
    if known is None:
        return None
    # ONNX Runtime tells a scalar and a tensor of any shape apart as little as that: it judges these itself.
    shape = tuple(size if isinstance(size, int) else -1 for size in argument.shape) or None
    return Tensor(argument.name, known[0], known[1], shape)


def matched(given: Sequence[RequestInput], expected: Sequence[Tensor]) -> list[Tensor]:
    """Which tensor each input of a request is: by name, or by position when no name is the model's.

    Raises InferenceError for an unknown or repeated name.
    """
    by_name = {tensor.name: tensor for tensor in expected}
    names = [each.name for each in given]
    if not any(name in by_name for name in names) and 0 < len(given) <= len(expected):
        return list(expected[: len(given)])
    for number, name in enumerate(names):
        if name not in by_name:
            raise InferenceError(f"inputs[{number}].name: {name!r}; expected {listed(by_name)}")
        if name in names[:number]:
            raise InferenceError(f"inputs[{number}].name: {name!r} is given twice")
    return [by_name[name] for name in names]


def decode(given: RequestInput, tensor: Tensor) -> np.ndarray[Any, Any]:
    """The array for ONNX Runtime. Raises InferenceError."""
    datatype = getattr(given.datatype, "value", given.datatype)
    if datatype != tensor.datatype:
        raise bad(given, "datatype", f"{datatype}; expected {tensor.datatype}")
    shape = list(given.shape)
    if not _fits(shape, tensor.shape):
        raise bad(given, "shape", f"{shape}; expected {list(tensor.shape or ())}")
    values = _strings(given) if tensor.datatype == "BYTES" else numbers(given, tensor.dtype)
    count = 1
    for size in shape:
        count *= size
    if values.size != count:
        raise bad(given, "data", f"{values.size} elements; shape {shape} takes {count}")
    return values.reshape(shape)


def encode(tensor: Tensor, values: np.ndarray[Any, Any]) -> ResponseOutput:
    """The answer's tensor. Not validated once more: it is made of what NumPy holds."""
    data = values.ravel().tolist()
    if tensor.datatype == "BYTES":
        data = [each.encode() if isinstance(each, str) else each for each in data]
    return ResponseOutput.model_construct(
        name=tensor.name,
        datatype=tensor.datatype,
        shape=list(values.shape),
        parameters=None,
        data=TensorData.model_construct(root=data),
    )


def _fits(shape: Sequence[int], expected: tuple[int, ...] | None) -> bool:
    if any(size < 0 for size in shape):
        return False
    if expected is None:
        return True
    pairs = zip(shape, expected, strict=False)
    return len(shape) == len(expected) and all(want in (-1, size) for size, want in pairs)


def _strings(given: RequestInput) -> np.ndarray[Any, Any]:
    found = texts(given)
    values = np.empty(len(found), dtype=object)
    values[:] = found
    return values
