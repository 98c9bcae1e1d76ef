"""How a request for a model ends on one server replica: values, told by the actor to whoever asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from overbook.residency.effects import Refusal
from overbook.residency.events import RequestId

_NO_REQUEST: Final = RequestId(0)


@dataclass(frozen=True, slots=True)
class Activation:
    """How a request for a model ended. ``refusal`` None: the model is resident, and stays until `Actor.passed` is told
    of ``request``. Times in seconds.
    """

    refusal: Refusal | None
    reason: str = ""
    retry_after: float = 0.0
    waited: float = 0.0
    load: float = 0.0
    request: RequestId = _NO_REQUEST


class AgentStops(Exception):
    """The request cannot be served here any more: ask another replica, or this one when it is back."""
