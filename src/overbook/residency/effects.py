"""What the agent must do. Values only, in the order in which they must be begun.

`Load`, `Unload` and `Verify` of one model are performed and answered one after the other, in that order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from overbook.residency.events import ModelName, RequestId, Ticket


class Refusal(Enum):
    """Why a request ended without the model, by what its sender can do next."""

    UNKNOWN = "unknown"  # not assigned here: ask elsewhere
    LOAD_FAILED = "load failed"  # the model is broken: retry after its backoff
    OVERLOADED = "overloaded"  # too many wait: retry later
    DEADLINE = "deadline"  # waited as long as the sender allowed
    NO_ROOM = "no room"  # pinned models leave no room: a person must act


class Cause(Enum):
    """Why a model leaves memory; the label of the evictions metric."""

    PRESSURE = "pressure"
    REQUESTED = "requested"
    REMOVED = "removed"
    UPDATED = "updated"
    BUDGET = "budget"
    SURPRISE = "surprise"  # a model took more than was known
    LOST = "lost"  # the inference server keeps memory that is nobody's
    GUARD = "guard"  # the machine runs short
    RECYCLED = "recycled"
    AHEAD = "ahead"  # room is made before it is asked for
    FAIRNESS = "fairness"  # somebody waited too long for a model that needs much
    CALLEE = "callee"  # a model that it calls leaves
    DISK = "disk"  # its files have to make room on the disk


@dataclass(frozen=True, slots=True)
class Grant:
    """The model is resident: the request may go. The model stays until the agent says `Passed`."""

    request: RequestId


@dataclass(frozen=True, slots=True)
class Reject:
    """The request ends without the model. ``retry_after``: seconds, 0 for no advice."""

    request: RequestId
    refusal: Refusal
    reason: str
    retry_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Load:
    """Load this generation; answer `LoadSucceeded` or `LoadFailed`. ``reload``: an older one is loaded.

    It is the newest that was registered, or the last that was loaded, while the newest cannot be.
    """

    model: ModelName
    generation: int
    reload: bool = False


@dataclass(frozen=True, slots=True)
class Publish:
    """Gateways may send traffic straight to the inference server. Also undoes a `Withdraw`."""

    model: ModelName


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take the hot route away; answer `Withdrawn` with the ticket when all gateways did.

    Comes when a model begins to drain, and before that for one that is deleted while it is reloaded.
    """

    model: ModelName
    ticket: Ticket
    cause: Cause


@dataclass(frozen=True, slots=True)
class Settle:
    """Everything that was granted has been passed on: answer `Drained` with the ticket when the inference server
    has seen it all and has nothing of the model in flight. A `Publish` or `Unload` ends it without an answer.
    """

    model: ModelName
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Unload:
    """Unload; answer `Unloaded` when the bytes are back."""

    model: ModelName


@dataclass(frozen=True, slots=True)
class Verify:
    """Ask the inference server whether it has the model; answer `Verified`."""

    model: ModelName


@dataclass(frozen=True, slots=True)
class Evicted:
    """The model became cold. For counting and for the status."""

    model: ModelName
    cause: Cause


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A removed model is out of memory; its files may go."""

    model: ModelName


Effect = Grant | Reject | Load | Publish | Withdraw | Settle | Unload | Verify | Evicted | Forgotten
