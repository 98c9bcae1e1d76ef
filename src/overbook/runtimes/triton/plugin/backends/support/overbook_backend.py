"""What the Python-based backends share: a model's configuration, and the way from Triton's requests to arrays
and back.

Runs inside Triton's Python stub, one process per model instance. It imports NumPy and nothing heavier: what
is imported here is paid at every cold load. Which program computes the answer is the backend's business.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

Arrays = dict[str, np.ndarray]
# Inputs by name and the outputs that are wanted, to outputs by name. Raises InputProblem or anything else.
Run = Callable[[Arrays, Sequence[str]], Arrays]

_TRUE = frozenset({"1", "true", "on", "yes"})


class InputProblem(Exception):
    """The request cannot be computed, and the caller can change that. The message says how."""


@dataclass(frozen=True)
class Tensor:
    """An input or output as the configuration has it; ``dims`` without the batch, -1 where any size fits."""

    name: str
    data_type: str
    dims: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True)
class Settings:
    """The model's configuration, as far as backends look at it. ``folder``: of the version that is loaded."""

    name: str
    folder: Path
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    default_model_filename: str
    parameters: dict[str, str]
    raw: dict[str, Any]

    def text(self, key: str, default: str = "") -> str:
        return self.parameters.get(key, default).strip()

    def number(self, key: str, default: int) -> int:
        """A whole number of `parameters`. Raises TritonModelException when it is something else."""
        value = self.text(key)
        if not value:
            return default
        try:
            return int(value)
        except ValueError:
            raise pb_utils.TritonModelException(
                f"model {self.name}: parameters {key!r} is {value!r}, expected a whole number"
            ) from None

    def flag(self, key: str, default: bool) -> bool:
        value = self.text(key)
        return value.lower() in _TRUE if value else default

    def model_file(self, default: str) -> Path:
        """Of the version's folder, as `default_model_filename` or the backend's own name for it says."""
        return self.folder / (self.default_model_filename or default)

    def refuse(self, why: str) -> Exception:
        return pb_utils.TritonModelException(f"model {self.name}: {why}")


def read_settings(args: dict[str, str]) -> Settings:
    """From what Triton gives `initialize`. Raises TritonModelException for what no Python backend can do."""
    config = json.loads(args["model_config"])
    settings = Settings(
        name=config["name"],
        folder=Path(args["model_repository"]) / args["model_version"],
        max_batch_size=int(config.get("max_batch_size", 0)),
        inputs=_tensors(config.get("input", ())),
        outputs=_tensors(config.get("output", ())),
        default_model_filename=config.get("default_model_filename", ""),
        parameters={
            key: str(value.get("string_value", ""))
            for key, value in config.get("parameters", {}).items()
        },
        raw=config,
    )
    for field in ("batch_input", "batch_output"):
        if config.get(field):
            raise settings.refuse(f"{field} is not supported by this build of the backend")
    if config.get("sequence_batching", {}).get("state"):
        raise settings.refuse(
            "sequence_batching.state is not supported by this build of the backend"
        )
    return settings


def thread_limit() -> int:
    """For one request of one model: many models share the machine, and each is a process with its own threads."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return max(1, min(2, (os.cpu_count() or 2) // 2))


def answer(settings: Settings, requests: list[Any], run: Run) -> list[Any]:
    """One response per request, in order; a request that fails has its own error and harms no other."""
    prepared = [_Request.of(settings, request) for request in requests]
    if settings.max_batch_size > 0 and len(prepared) > 1:
        for group in _alike(prepared):
            _run_together(group, run)
    for each in prepared:
        each.run(run)
    return [each.response() for each in prepared]


@dataclass
class _Request:
    inputs: Arrays
    wanted: tuple[str, ...]
    scalars: frozenset[str]
    outputs: Arrays | None = None
    error: Any = None

    @classmethod
    def of(cls, settings: Settings, request: Any) -> _Request:
        asked = request.requested_output_names()
        wanted = tuple(dict.fromkeys(asked)) or tuple(each.name for each in settings.outputs)
        # Without a batch Triton knows no tensor without dimensions: they are written [1] in a configuration.
        scalars = frozenset(each.name for each in settings.outputs if each.dims == (1,))
        made = cls({}, wanted, scalars if settings.max_batch_size == 0 else frozenset())
        try:
            made.inputs = {each.name(): each.as_numpy() for each in request.inputs()}
        except Exception as error:
            made._failed(error)
        return made

    def run(self, run: Run) -> None:
        if self.outputs is not None or self.error is not None:
            return
        try:
            self.outputs = run(self.inputs, self.wanted)
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        kind = pb_utils.TritonError
        code = kind.INVALID_ARG if isinstance(error, InputProblem) else kind.INTERNAL
        self.error = kind(str(error) or type(error).__name__, code)

    def response(self) -> Any:
        if self.error is None:
            try:
                tensors = [self._tensor(name) for name in self.wanted]
                return pb_utils.InferenceResponse(output_tensors=tensors)
            except Exception as error:
                self._failed(error)
        return pb_utils.InferenceResponse(output_tensors=[], error=self.error)

    def _tensor(self, name: str) -> Any:
        assert self.outputs is not None
        array = np.asarray(self.outputs[name])
        if array.ndim == 0 and name in self.scalars:
            array = array.reshape(1)
        if array.dtype.kind in "US":
            array = array.astype(np.object_)
        return pb_utils.Tensor(name, np.ascontiguousarray(array).reshape(array.shape))


def _alike(requests: list[_Request]) -> list[list[_Request]]:
    """Requests that differ in their batch and their content only."""
    groups: dict[object, list[_Request]] = {}
    for each in requests:
        sizes = {array.shape[:1] for array in each.inputs.values()}
        # Only where all inputs have the same batch can the outputs be cut apart again.
        if each.error is None and len(sizes) == 1 and () not in sizes:
            shapes = tuple((n, a.dtype.str, a.shape[1:]) for n, a in sorted(each.inputs.items()))
            groups.setdefault((each.wanted, shapes), []).append(each)
    return [group for group in groups.values() if len(group) > 1]


def _run_together(group: list[_Request], run: Run) -> None:
    """One computation for all. Where that fails or cannot be cut apart, each is left to run by itself."""
    batches = [len(next(iter(each.inputs.values()))) for each in group]
    inputs = {
        name: np.concatenate([each.inputs[name] for each in group]) for name in group[0].inputs
    }
    try:
        outputs = run(inputs, group[0].wanted)
    except Exception:
        return
    total = sum(batches)
    if any(array.ndim == 0 or len(array) != total for array in outputs.values()):
        return
    start = 0
    for each, batch in zip(group, batches, strict=True):
        each.outputs = {name: array[start : start + batch] for name, array in outputs.items()}
        start += batch


def _tensors(listed: Sequence[dict[str, Any]]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(
            name=each["name"],
            data_type=each["data_type"],
            dims=tuple(int(dim) for dim in each["dims"]),
            optional=bool(each.get("optional", False)),
        )
        for each in listed
    )
