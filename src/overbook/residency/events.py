"""What can happen to a server replica. Values only; `core` gives them their meaning.

Times are seconds on the caller's monotonic clock, sizes are bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, NewType

ModelName = NewType("ModelName", str)
RequestId = NewType("RequestId", int)
Ticket = NewType("Ticket", int)


@dataclass(frozen=True, slots=True)
class Register:
    """A model is assigned here and its artifact is local, or its spec or artifact changed.

    ``generation`` names the content to load: a higher one makes a resident copy stale, so that it is
    reloaded in place; the same one only updates size, pin and priority. Equal generations mean equal content,
    also across a `Remove`; after one, any generation may follow while something older is still in memory, or on its
    way there: that serves again only if it is of this very generation.
    ``warm`` asks for a load into room that is free anyway; nothing is evicted for it. ``keep_alive``: seconds after
    its last use in which others are evicted rather than this one. ``load_seconds`` and
    ``last_used``: what its loads took and when it was used last, when known from elsewhere. ``reserve``: bytes
    that its loads are charged until they ended, where ``size`` is not much more than hope; what of that there cannot
    be room for is done without. ``peak``: bytes that a load takes for a moment; charged as far as they are free, and
    nobody is evicted for them. ``proven``: the content has been loaded in this runtime before, so that it stands for
    the model until a newer one has been loaded; said with the first registration only. ``callees``: models that it
    calls within the server, which serve whenever it does. ``sequence_idle``: seconds after a use in which a sequence of
    requests may go on, whose state is in memory only; 0 where it keeps none.
    """

    model: ModelName
    size: int
    generation: int
    pinned: bool = False
    priority: int = 0
    warm: bool = True
    keep_alive: float = 0.0
    load_seconds: float | None = None
    last_used: float = -math.inf
    reserve: int = 0
    peak: int = 0
    proven: bool = False
    callees: tuple[ModelName, ...] = ()
    sequence_idle: float = 0.0


@dataclass(frozen=True, slots=True)
class Remove:
    """The model is no longer assigned here. Ends with the effect `Forgotten`."""

    model: ModelName


@dataclass(frozen=True, slots=True)
class RequestArrived:
    """A request needs the model. Ends with exactly one `Grant` or `Reject`, unless it leaves first.

    ``suspect``: the request came back from the inference server; `core` asks for a `Verify` before granting.
    """

    request: RequestId
    model: ModelName
    deadline: float
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class RequestLeft:
    """The caller is gone; unknown requests are ignored (the answer may have crossed it).

    Of one that was granted it says the same as `Passed`: the grant found nobody.
    """

    request: RequestId


@dataclass(frozen=True, slots=True)
class Passed:
    """A granted request was passed on to the inference server, or its caller left before that.

    Unknown requests are ignored: what was granted is void when the model leaves memory all the same.
    """

    request: RequestId


@dataclass(frozen=True, slots=True)
class UsageSeen:
    """What the gateways counted: requests in flight now, and the time the last one was seen to be active."""

    model: ModelName
    in_flight: int
    last_active: float


@dataclass(frozen=True, slots=True)
class LoadSucceeded:
    """The load ended well. ``measured``: bytes it really took, ``seconds``: how long it took; None: not known."""

    model: ModelName
    measured: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What a loaded model really takes, learned after its load. It is charged also where it does not fit: the
    deficit is then covered by evicting others before the next load begins.

    ``withheld``: replaces what was withheld before, in the same moment, as room for this was part of that.
    """

    model: ModelName
    size: int
    withheld: int | None = None


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The load failed; the inference server gave the memory back. ``reason`` is for people.

    ``passing``: it does not lie in the content, and may be gone at the next try.
    """

    model: ModelName
    reason: str
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """All gateways took the hot route away: from now on they pass on nothing but what they were granted before."""

    model: ModelName
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Drained:
    """The inference server has seen all that was passed on, and has nothing of the model in flight."""

    model: ModelName
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Unloaded:
    """The inference server let go of the model and the bytes were seen to be back."""

    model: ModelName


@dataclass(frozen=True, slots=True)
class Verified:
    """Answer to `Verify`: is the model really in the inference server?"""

    model: ModelName
    present: bool


@dataclass(frozen=True, slots=True)
class EvictRequested:
    """A person wants the model cold."""

    model: ModelName


@dataclass(frozen=True, slots=True)
class TryAgain:
    """A person wants a model tried that failed: nothing is known against its content any more."""

    model: ModelName


@dataclass(frozen=True, slots=True)
class HoldBack:
    """A content that is not in memory is not to be loaded before ``until``; inf: not before there is another, or a
    `TryAgain`. ``reason`` is for people, and for those who wait.

    A size that is learned meanwhile changes nothing about that, unlike after a `LoadFailed`.
    """

    model: ModelName
    generation: int
    reason: str
    until: float = math.inf


@dataclass(frozen=True, slots=True)
class ServerDown:
    """The inference server is gone; everything known about its memory is void.

    Answers to effects from before it must not be reported any more.
    """


@dataclass(frozen=True, slots=True)
class ServerUp:
    """A new, empty inference server is ready. Loads may begin; the hot set comes back, latest used first."""


@dataclass(frozen=True, slots=True)
class BudgetChanged:
    """The budget is now ``budget`` bytes; the surplus is evicted when it shrank."""

    budget: int


@dataclass(frozen=True, slots=True)
class Withhold:
    """``size`` bytes of the budget are nobody's: ``lost`` in the inference server, or else needed by the machine.

    Replaces what was withheld before. ``owed``: loaded models take them already, and are to be charged with them.
    """

    size: int
    lost: bool = True
    owed: bool = False


@dataclass(frozen=True, slots=True)
class Recycle:
    """The inference server is to be replaced: all models drain and unload, and requests for them wait.

    Nothing is loaded until `ServerDown` and `ServerUp`; then the hot set comes back.
    """


class Files(NamedTuple):
    """Files on the disk, of ``size`` bytes, that stay for no other reason than that any of ``models`` is in memory."""

    size: int
    models: tuple[ModelName, ...]


@dataclass(frozen=True, slots=True)
class DiskRoomWanted:
    """Somebody waits ``since`` then for files that have no room on the disk: ``missing`` bytes have to leave it, and
    these ``files`` could, if their models left memory.

    Replaces what was wanted before. 0 bytes: nothing is wanted any more.
    """

    missing: int
    files: tuple[Files, ...] = ()
    since: float = math.inf


@dataclass(frozen=True, slots=True)
class FilesLeft:
    """The files of a model left the disk. They come back for requests, and not for the sake of memory that is free."""

    model: ModelName


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed: deadlines, backoffs and patience are looked at. See `Core.next_wakeup`."""


Event = (
    Register
    | Remove
    | RequestArrived
    | RequestLeft
    | Passed
    | UsageSeen
    | LoadSucceeded
    | Measured
    | LoadFailed
    | Withdrawn
    | Drained
    | Unloaded
    | Verified
    | EvictRequested
    | TryAgain
    | HoldBack
    | ServerDown
    | ServerUp
    | BudgetChanged
    | Withhold
    | Recycle
    | DiskRoomWanted
    | FilesLeft
    | Tick
)
