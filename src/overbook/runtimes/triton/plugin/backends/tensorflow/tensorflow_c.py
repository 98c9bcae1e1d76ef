"""TensorFlow's C API, as much of it as it takes to load a SavedModel and run a signature.

The functions and structures are those of `tensorflow/c/c_api.h` and `tf_tstring.h`, which TensorFlow keeps
stable. Nothing of TensorFlow's Python is imported. `Session.run` releases the interpreter lock.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Sequence
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
from signatures import DEFAULT_SIGNATURE, Signature, TensorInfo, read_signatures

_STRING = 7
_STRING_BYTES = 24
_INVALID_ARGUMENT = 3
_NUMPY = {
    1: np.float32,
    2: np.float64,
    3: np.int32,
    4: np.uint8,
    5: np.int16,
    6: np.int8,
    9: np.int64,
    10: np.bool_,
    17: np.uint16,
    19: np.float16,
    22: np.uint32,
    23: np.uint64,
}
_DTYPE = {np.dtype(kind): number for number, kind in _NUMPY.items()}
_DEALLOCATOR = ctypes.CFUNCTYPE(None, c_void_p, c_size_t, c_void_p)


class TensorflowError(Exception):
    """TensorFlow's own words. ``is_invalid_argument``: the request was at fault."""

    def __init__(self, message: str, *, is_invalid_argument: bool = False) -> None:
        super().__init__(message)
        self.is_invalid_argument = is_invalid_argument


class _Output(ctypes.Structure):
    _fields_ = (("operation", c_void_p), ("index", c_int))


class _Buffer(ctypes.Structure):
    _fields_ = (("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p))


class Session:
    """A loaded SavedModel and one of its signatures. ``inputs``, ``outputs``: by their names in the signature."""

    def __init__(
        self, folder: Path, *, tag: str, signature: str, intra_threads: int, inter_threads: int
    ) -> None:
        self._tf = _library()
        self._graph = self._tf.TF_NewGraph()
        options = self._tf.TF_NewSessionOptions()
        meta = self._tf.TF_NewBuffer()
        tags = (c_char_p * 1)(tag.encode())
        try:
            config = _config(intra_threads, inter_threads)
            with _Status(self._tf) as status:
                self._tf.TF_SetConfig(options, config, len(config), status)
            with _Status(self._tf) as status:
                self._session = self._tf.TF_LoadSessionFromSavedModel(
                    options, None, os.fsencode(folder), tags, 1, self._graph, meta, status
                )
            found = meta.contents
            content = (ctypes.c_ubyte * found.length).from_address(found.data or 0)
            chosen, self.signature = _choose(
                read_signatures(memoryview(content).cast("B")), signature
            )
        finally:
            self._tf.TF_DeleteBuffer(meta)
            self._tf.TF_DeleteSessionOptions(options)
        self.inputs = chosen.inputs
        self.outputs = chosen.outputs
        self._places = {
            each.tensor: self._place(each)
            for each in (*chosen.inputs.values(), *chosen.outputs.values())
        }

    def close(self) -> None:
        with _Status(self._tf) as status:
            self._tf.TF_DeleteSession(self._session, status)
        self._tf.TF_DeleteGraph(self._graph)

    def run(self, inputs: dict[str, np.ndarray], wanted: Sequence[str]) -> dict[str, np.ndarray]:
        """Raises TensorflowError; its message names the input where one is missing or unknown."""
        self._check(inputs)
        fed: list[Any] = []
        got = (c_void_p * len(wanted))()
        try:
            for array in inputs.values():
                fed.append(_to_tensor(self._tf, array))
            with _Status(self._tf) as status:
                self._tf.TF_SessionRun(
                    *(self._session, None),
                    *(
                        self._array(self.inputs[name] for name in inputs),
                        (c_void_p * len(fed))(*fed),
                    ),
                    len(fed),
                    *(self._array(self.outputs[name] for name in wanted), got, len(wanted)),
                    *(None, 0, None, status),
                )
            return {
                name: _to_array(self._tf, tensor) for name, tensor in zip(wanted, got, strict=True)
            }
        finally:
            for tensor in (*fed, *got):
                if tensor:
                    self._tf.TF_DeleteTensor(tensor)

    def _check(self, inputs: dict[str, np.ndarray]) -> None:
        for words, names in (
            ("is missing", set(self.inputs) - set(inputs)),
            ("is not in the signature", set(inputs) - set(self.inputs)),
        ):
            if names:
                raise TensorflowError(
                    f"input {', '.join(sorted(names))} {words}", is_invalid_argument=True
                )

    def _array(self, infos: Any) -> Any:
        places = [self._places[info.tensor] for info in infos]
        return (_Output * len(places))(*places)

    def _place(self, info: TensorInfo) -> _Output:
        operation, _, index = info.tensor.rpartition(":")
        found = self._tf.TF_GraphOperationByName(self._graph, operation.encode())
        if not found:
            raise TensorflowError(f"the graph has no operation {operation!r}")
        return _Output(found, int(index))


def _choose(found: dict[str, Signature], wanted: str) -> tuple[Signature, str]:
    names = sorted(name for name, each in found.items() if each.outputs)
    name = wanted or (
        DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in names or len(names) != 1 else names[0]
    )
    if name not in names:
        raise TensorflowError(
            f"the SavedModel has no signature {name!r}; it has {', '.join(names) or 'none'}"
        )
    return found[name], name


class _Status:
    """A status object for one call; leaving raises what it says."""

    def __init__(self, tf: Any) -> None:
        self._tf = tf

    def __enter__(self) -> Any:
        self._status = self._tf.TF_NewStatus()
        return self._status

    def __exit__(self, *_: object) -> None:
        code = self._tf.TF_GetCode(self._status)
        words = self._tf.TF_Message(self._status).decode(errors="replace") if code else ""
        self._tf.TF_DeleteStatus(self._status)
        if code:
            raise TensorflowError(words, is_invalid_argument=code == _INVALID_ARGUMENT)


def _to_tensor(tf: Any, array: np.ndarray) -> Any:
    dims = (c_int64 * max(1, array.ndim))(*array.shape)
    if array.dtype == np.object_:
        return _to_string_tensor(tf, array, dims)
    number = _DTYPE.get(array.dtype)
    if number is None:
        raise TensorflowError(f"tensors of {array.dtype} are not supported")
    contiguous = np.ascontiguousarray(array)
    tensor = tf.TF_AllocateTensor(number, dims, array.ndim, contiguous.nbytes)
    if contiguous.nbytes:
        ctypes.memmove(tf.TF_TensorData(tensor), contiguous.ctypes.data, contiguous.nbytes)
    return tensor


# Strings that TensorFlow may still hold, by address; it says through the deallocator when it is done.
_STRINGS: dict[int, Any] = {}


@_DEALLOCATOR
def _release_strings(data: int, length: int, _arg: int) -> None:
    tf = _library()
    for offset in range(0, length, _STRING_BYTES):
        tf.TF_StringDealloc(data + offset)
    _STRINGS.pop(data, None)


def _to_string_tensor(tf: Any, array: np.ndarray, dims: Any) -> Any:
    length = array.size * _STRING_BYTES
    memory = (c_int64 * max(1, length // 8))()
    address = ctypes.addressof(memory)
    for index, text in enumerate(array.reshape(-1)):
        content = text.encode() if isinstance(text, str) else bytes(text)
        place = address + index * _STRING_BYTES
        tf.TF_StringInit(place)
        tf.TF_StringCopy(place, content, len(content))
    _STRINGS[address] = memory
    return tf.TF_NewTensor(_STRING, dims, array.ndim, address, length, _release_strings, None)


def _to_array(tf: Any, tensor: Any) -> np.ndarray:
    """A copy of its own, so that the tensor may go."""
    number = tf.TF_TensorType(tensor)
    shape = tuple(tf.TF_Dim(tensor, axis) for axis in range(tf.TF_NumDims(tensor)))
    data = tf.TF_TensorData(tensor)
    if number == _STRING:
        texts = np.empty(int(np.prod(shape, dtype=np.int64)), dtype=np.object_)
        for index in range(len(texts)):
            place = data + index * _STRING_BYTES
            size = tf.TF_StringGetSize(place)
            texts[index] = ctypes.string_at(tf.TF_StringGetDataPointer(place), size)
        return texts.reshape(shape)
    kind = _NUMPY.get(number)
    if kind is None:
        raise TensorflowError(
            f"an output has TensorFlow's data type {number}, which is not supported"
        )
    array = np.empty(shape, dtype=kind)
    if array.nbytes:
        ctypes.memmove(array.ctypes.data, data, array.nbytes)
    return array


def _config(intra_threads: int, inter_threads: int) -> bytes:
    """A serialised ConfigProto: fields 2 and 5, numbers below 128."""
    threads = (min(max(each, 0), 127) for each in (intra_threads, inter_threads))
    return bytes((2 << 3, next(threads), 5 << 3, next(threads)))


_LOADED: list[Any] = []


def _library() -> Any:
    if not _LOADED:
        # Said once per process, about a choice that is TensorFlow's own.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        spec = importlib.util.find_spec("tensorflow")
        if spec is None or spec.origin is None:
            raise TensorflowError(
                "TensorFlow is not installed; run: overbook runtime install triton --with tensorflow"
            )
        library = Path(spec.origin).parent / "libtensorflow_cc.so.2"
        _LOADED.append(_declared(ctypes.CDLL(str(library))))
    return _LOADED[0]


def _declared(tf: Any) -> Any:
    """The types of what is called. Pointers that nobody looks into are plain addresses."""
    address, text, buffer = c_void_p, c_char_p, POINTER(_Buffer)
    outputs, dims = POINTER(_Output), POINTER(c_int64)
    addresses = POINTER(c_void_p)
    for name, result, arguments in (
        ("TF_NewStatus", address, ()),
        ("TF_GetCode", c_int, (address,)),
        ("TF_Message", text, (address,)),
        ("TF_DeleteStatus", None, (address,)),
        ("TF_NewGraph", address, ()),
        ("TF_DeleteGraph", None, (address,)),
        ("TF_NewSessionOptions", address, ()),
        ("TF_DeleteSessionOptions", None, (address,)),
        ("TF_SetConfig", None, (address, text, c_size_t, address)),
        ("TF_NewBuffer", buffer, ()),
        ("TF_DeleteBuffer", None, (buffer,)),
        (
            "TF_LoadSessionFromSavedModel",
            address,
            (address, address, text, POINTER(text), c_int, address, buffer, address),
        ),
        ("TF_DeleteSession", None, (address, address)),
        ("TF_GraphOperationByName", address, (address, text)),
        (
            "TF_SessionRun",
            None,
            (
                *(address, address, outputs, addresses, c_int),
                *(outputs, addresses, c_int, address, c_int, address, address),
            ),
        ),
        ("TF_AllocateTensor", address, (c_int, dims, c_int, c_size_t)),
        ("TF_NewTensor", address, (c_int, dims, c_int, address, c_size_t, _DEALLOCATOR, address)),
        ("TF_DeleteTensor", None, (address,)),
        ("TF_TensorType", c_int, (address,)),
        ("TF_NumDims", c_int, (address,)),
        ("TF_Dim", c_int64, (address, c_int)),
        ("TF_TensorData", address, (address,)),
        ("TF_StringInit", None, (address,)),
        ("TF_StringCopy", None, (address, text, c_size_t)),
        ("TF_StringDealloc", None, (address,)),
        ("TF_StringGetSize", c_size_t, (address,)),
        ("TF_StringGetDataPointer", address, (address,)),
    ):
        function = getattr(tf, name)
        function.restype = result
        function.argtypes = arguments
    return tf
