"""Tells a request that does not fit the signature of an MLflow model from a model that failed.

MLflow raises one error with the whole table in it, which would be a 500: here it becomes a 400 that says what is wrong
and what the signature wants. Imports nothing of MLflow, which is an extra.
"""

from __future__ import annotations

import re
from typing import Any

from mlserver.errors import InferenceError

from overbook_mlserver.tensor_values import shown

_RAISED_IN = "mlflow.exceptions"
_WORDS = re.compile(r"Failed to enforce schema of .*\. Error: (?P<why>.*)", re.DOTALL)


def refusal(model: Any, error: Exception) -> InferenceError | None:
    """What to raise in its place; None when it is no such error."""
    if type(error).__module__ != _RAISED_IN:
        return None
    found = _WORDS.fullmatch(str(error))
    if found is None:
        return None
    why = " ".join(found["why"].split()).rstrip(".")
    wanted = [f"{each.name!r} ({each.datatype})" for each in model.inputs or ()]
    return InferenceError(
        f"inputs: {why[:1].lower()}{why[1:]}; the model's signature is {shown(wanted)}"
    )
