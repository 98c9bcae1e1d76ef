"""Finds the model that a serialised ModelInferRequest asks for, or says why there is none. Pure.

A full decode of a message of 64 MB would copy its tensors; the walk jumps over them. The last name in the message
counts, as for every decoder: so the inference server sees the same. For calls that are neither streams nor compressed
`lua/name_grpc.lua` decides the same inside Envoy, and says it in the same words.
"""

from __future__ import annotations

import re
from typing import Final

from overbook.gateway.oip.errors import BadRequest, UnknownModel
from overbook.manifests.names import is_model_name
from overbook.wire.limits import MAX_FIELDS, MAX_SHOWN
from overbook.wire.protobuf import MalformedMessage, TooManyFields, Walk

# In ModelInferRequest.
_MODEL_NAME: Final = 1
# No model has a name as long as that, and no more of one is shown.
_LONGEST: Final = MAX_SHOWN + 1
_NOT_SHOWN: Final = re.compile(r"[^ -~]")


def asked_model(message: bytes, header: str | None) -> str:
    """The model that a request asks for. ``header``: the one that its seldon-model header names.

    Raises BadRequest, and UnknownModel when no model can be called like that.
    """
    name = model_name(message)
    check_name(name, header)
    return name


def check_name(name: str, header: str | None) -> None:
    """Whether a message may name this model, as far as that can be told without knowing which there are.

    Raises as `asked_model`.
    """
    if not name:
        raise BadRequest("model_name: empty; name the model in the message")
    if not is_model_name(name):
        raise UnknownModel(f"model {shown(name)}: not found")
    if header is not None and header != name:
        raise BadRequest(
            f"seldon-model: header names {shown(header)}, the message names {shown(name)}; "
            "expected the same model in both"
        )


def model_name(message: bytes) -> str:
    """What the message names, "" when that is nothing; cut where it is longer than any name. Raises BadRequest."""
    name = b""
    try:
        for number, value in Walk(MAX_FIELDS).fields(memoryview(message)):
            if number == _MODEL_NAME and isinstance(value, memoryview):
                name = bytes(value[:_LONGEST])
    except TooManyFields as error:
        raise BadRequest(f"message: {error}") from None
    except MalformedMessage:
        raise BadRequest("message: not a ModelInferRequest") from None
    # Names of models are ASCII: each other byte is as good as any.
    return name.decode("ascii", errors="replace")


def shown(text: str) -> str:
    """The text as error messages show it: not too long, and without what a terminal would obey."""
    return _NOT_SHOWN.sub("?", text[:MAX_SHOWN])
