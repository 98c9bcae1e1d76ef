"""Triton's `tensorflow` backend where only its Python backend is there: SavedModels, without importing TensorFlow.

`import tensorflow` takes 2.3 s of CPU and 250 MB, in every process, for a graph that C++ executes anyway. So
the wheel's shared library is used through its C API, as NVIDIA's native backend does: a cold load pays for
loading that library and for the graph. Takes the model folders and parameters of the native backend.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

_HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.append(os.path.join(os.path.dirname(_HERE), "support"))

from overbook_backend import (  # noqa: E402
    Arrays,
    InputProblem,
    answer,
    read_settings,
    thread_limit,
)
from tensorflow_c import Session, TensorflowError  # noqa: E402

_SERVE = "serve"


class TritonPythonModel:
    """One instance of one model."""

    def initialize(self, args: dict[str, str]) -> None:
        self.settings = settings = read_settings(args)
        if settings.raw.get("platform") == "tensorflow_graphdef":
            raise settings.refuse(
                "platform tensorflow_graphdef is not supported, save a SavedModel"
            )
        folder = settings.model_file("model.savedmodel")
        if not (folder / "saved_model.pb").is_file():
            raise settings.refuse(f"unable to find {folder}/saved_model.pb")
        try:
            self.session = Session(
                folder,
                tag=settings.text("TF_GRAPH_TAG", _SERVE),
                signature=settings.text("TF_SIGNATURE_DEF"),
                intra_threads=settings.number("TF_NUM_INTRA_THREADS", thread_limit()),
                inter_threads=settings.number("TF_NUM_INTER_THREADS", thread_limit()),
            )
        except (TensorflowError, OSError) as error:
            raise settings.refuse(str(error)) from error
        configured = (
            ("input", settings.inputs, self.session.inputs),
            ("output", settings.outputs, self.session.outputs),
        )
        for kind, tensors, known in configured:
            for each in tensors:
                if each.name not in known:
                    raise settings.refuse(
                        f"{kind} {each.name!r} is not in the signature {self.session.signature!r}, "
                        f"which has {', '.join(sorted(known)) or 'none'}"
                    )

    def execute(self, requests: list[Any]) -> list[Any]:
        return answer(self.settings, requests, self._run)

    def finalize(self) -> None:
        self.session.close()

    def _run(self, inputs: Arrays, wanted: Sequence[str]) -> Arrays:
        fitted = {}
        for name, array in inputs.items():
            expected = self.session.inputs.get(name)
            scalar = expected is not None and expected.rank == 0 and array.size == 1
            fitted[name] = array.reshape(()) if scalar else array
        try:
            return self.session.run(fitted, wanted)
        except TensorflowError as error:
            if error.is_invalid_argument:
                raise InputProblem(str(error)) from error
            raise
