"""Triton's `onnxruntime` backend where only its Python backend is there: ONNX through ONNX Runtime's wheel.

Takes the model folders and parameters of NVIDIA's native backend. Small first: no memory arena, few threads
that do not spin, since every model is a process of its own and most of them idle.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

_HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.append(os.path.join(os.path.dirname(_HERE), "support"))

import numpy as np  # noqa: E402
import onnxruntime as ort  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402
from overbook_backend import (  # noqa: E402
    Arrays,
    InputProblem,
    Settings,
    answer,
    read_settings,
    thread_limit,
)

_LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
_ERRORS_ONLY = 3


class TritonPythonModel:
    """One instance of one model."""

    def initialize(self, args: dict[str, str]) -> None:
        self.settings = read_settings(args)
        path = self.settings.model_file("model.onnx")
        if path.is_dir():
            path = path / "model.onnx"
        if not path.is_file():
            raise self.settings.refuse(f"unable to find {path}")
        try:
            self.session = ort.InferenceSession(
                str(path), session_options(self.settings), providers=providers(self.settings)
            )
        except Exception as error:
            raise self.settings.refuse(str(error)) from error
        self.ranks = {each.name: len(each.shape) for each in self.session.get_inputs()}
        self.required = frozenset(self.ranks)
        self.outputs = frozenset(each.name for each in self.session.get_outputs())
        # An initializer that is also an input may be left out.
        known = self.ranks | {
            each.name: len(each.shape) for each in self.session.get_overridable_initializers()
        }
        self.ranks = known
        self._check_names()

    def execute(self, requests: list[Any]) -> list[Any]:
        return answer(self.settings, requests, self._run)

    def finalize(self) -> None:
        del self.session

    def _check_names(self) -> None:
        configured = (
            ("input", self.settings.inputs, self.ranks),
            ("output", self.settings.outputs, self.outputs),
        )
        for kind, tensors, known in configured:
            for each in tensors:
                if each.name not in known:
                    raise self.settings.refuse(
                        f"{kind} {each.name!r} is not in the ONNX graph, "
                        f"which has {', '.join(sorted(known)) or 'none'}"
                    )

    def _run(self, inputs: Arrays, wanted: Sequence[str]) -> Arrays:
        missing = self.required.difference(inputs)
        if missing:
            raise InputProblem(f"input {', '.join(sorted(missing))} is missing")
        feed = {name: self._fitted(name, array) for name, array in inputs.items()}
        try:
            return dict(zip(wanted, self.session.run(list(wanted), feed), strict=True))
        except Exception as error:
            if "INVALID_ARGUMENT" in str(error):
                raise InputProblem(f"onnx runtime error: {error}") from error
            raise RuntimeError(f"onnx runtime error: {error}") from error

    def _fitted(self, name: str, array: np.ndarray) -> np.ndarray:
        if array.dtype == np.object_:
            array = _texts(array)
        if self.ranks.get(name) == 0 and array.size == 1:
            return array.reshape(())
        return array


def session_options(settings: Settings) -> Any:
    """As the parameters of NVIDIA's backend say; where they are silent, what suits many idle models."""
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = settings.number("intra_op_thread_count", thread_limit())
    options.inter_op_num_threads = settings.number("inter_op_thread_count", 1)
    if settings.number("execution_mode", 0) == 1:
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    level = int(settings.raw.get("optimization", {}).get("graph", {}).get("level", 0))
    options.graph_optimization_level = _LEVELS.get(level, _LEVELS[0])
    options.enable_cpu_mem_arena = settings.flag("enable_mem_arena", False)
    options.enable_mem_pattern = settings.flag("enable_mem_pattern", options.enable_cpu_mem_arena)
    for pool in ("intra", "inter"):
        options.add_session_config_entry(f"session.{pool}_op.allow_spinning", "0")
    key = "session.use_device_allocator_for_initializers"
    if settings.text(key):
        options.add_session_config_entry(key, settings.text(key))
    operations = settings.raw.get("model_operations", {})
    for library in operations.get("op_library_filename", ()):
        options.register_custom_ops_library(str(settings.folder / library))
    return options


def providers(settings: Settings) -> list[str]:
    """Accelerators that the configuration names and this wheel has; the CPU last, always."""
    accelerators = settings.raw.get("optimization", {}).get("execution_accelerators", {})
    available = {name.lower(): name for name in ort.get_available_providers()}
    found = []
    for field in ("gpu_execution_accelerator", "cpu_execution_accelerator"):
        for each in accelerators.get(field, ()):
            name = str(each.get("name", ""))
            provider = available.get(f"{name.lower()}executionprovider")
            if provider is None:
                pb_utils.Logger.log_warn(
                    f"model {settings.name}: no {name} in this ONNX Runtime, using the CPU"
                )
            elif provider not in found:
                found.append(provider)
    return [*(name for name in found if name != "CPUExecutionProvider"), "CPUExecutionProvider"]


def _texts(array: np.ndarray) -> np.ndarray:
    """ONNX Runtime reads text from Python strings, and would print bytes instead of reading them."""
    flat = array.reshape(-1)
    try:
        texts = [each if isinstance(each, str) else bytes(each).decode() for each in flat]
    except UnicodeDecodeError:
        # Any bytes at all go in a fixed-width array, whose zero bytes at an end are lost.
        return np.array([bytes(each) for each in flat], dtype=np.bytes_).reshape(array.shape)
    made = np.empty(len(texts), dtype=np.object_)
    made[:] = texts
    return made.reshape(array.shape)
