"""What gateways and the inference server answered, as events for the core; the counterpart of `performing`.

Decides nothing about memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from overbook.agent.accusing import Accuser
from overbook.agent.clock import Clock
from overbook.agent.contents import Contents
from overbook.agent.looking import told
from overbook.agent.memory.meter import Meter
from overbook.agent.notices import Notices
from overbook.agent.residents import Residents
from overbook.agent.servers.protocol import Description, PreparedModel
from overbook.residency import events as ev
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName

_NEVER = -float("inf")


@dataclass(frozen=True, slots=True)
class Results:
    """Of one server replica. ``feed``: to the core. ``size``: bytes to charge for a content. ``describe``: have the
    server asked what it is; ``tell_loaded``: is told of each load that ended well. ``inquire``: have the server asked
    when models are idle; ``busy``: is told which are not.
    """

    entries: Mapping[ModelName, Entry]
    contents: Contents
    residents: Residents
    accuser: Accuser
    notices: Notices
    meter: Meter
    clock: Clock
    feed: Callable[[ev.Event], None]
    size: Callable[[PreparedModel], int]
    describe: Callable[[PreparedModel], None]
    tell_loaded: Callable[[PreparedModel], None]
    inquire: Callable[[], None]
    busy: Callable[[ModelName], None]

    # -- of gateways

    def withdrawn(self, model: ModelName, ticket: ev.Ticket) -> None:
        self.feed(ev.Withdrawn(model, ticket))

    def passed(self, request: ev.RequestId) -> None:
        """A request that was granted has been passed on to the server, or nobody wants it any more."""
        self.feed(ev.Passed(request))

    def usage(self, model: ModelName, in_flight: int, active: bool) -> None:
        if in_flight == 0:
            self.residents.look_again()
        else:
            self.busy(model)
        self.feed(ev.UsageSeen(model, in_flight, self.clock.now() if active else _NEVER))
        if active:
            self.meter.used(model, in_flight)
        self.notices.used(model)
        if active:
            self.residents.use(model)

    # -- of the inference server

    def inquired(self, model: ModelName, idle: bool) -> None:
        """The server that was asked knows the end of a request before the meters do."""
        if not idle:
            self.inquire()
            return
        self.residents.look_again()
        self.feed(ev.UsageSeen(model, 0, _NEVER))

    def drained(self, model: ModelName, ticket: ev.Ticket) -> None:
        self.residents.look_again()
        self.feed(ev.Drained(model, ticket))

    def loaded(self, prepared: PreparedModel, seconds: float) -> None:
        model = ModelName(prepared.name)
        self.contents.end_load(model, prepared)
        self.contents.load_took(model, self.clock.now(), seconds)
        self.accuser.loaded(prepared)
        self.notices.loaded(model, seconds)
        size = self.size(prepared)
        self.feed(ev.LoadSucceeded(model, measured=size, seconds=seconds))
        self.contents.drop_older(model)
        self.tell_loaded(prepared)
        newest = self.contents.newest(model) == prepared
        if newest and self.contents.description(prepared) is None:
            self.describe(prepared)

    def unloaded(self, model: ModelName, problem: str) -> None:
        if problem:
            self.notices.unload_failed(model, problem)
        self.feed(ev.Unloaded(model))
        self.residents.room_came()

    def rejected(self, model: ModelName, reason: str, passing: bool) -> None:
        """``passing``: the same content may well load at the next try."""
        self.contents.end_load(model, None)
        reason = told(reason)
        self.feed(ev.LoadFailed(model, reason, passing=passing))
        entry = self.entries.get(model)
        self.notices.load_failed(model, reason, final=entry is not None and entry.given_up)

    def verified(self, model: ModelName, present: bool) -> None:
        entry = self.entries.get(model)
        if entry is not None and entry.verifying:
            if not present:
                self.contents.left(model)
            self.feed(ev.Verified(model, present))

    def described(self, prepared: PreparedModel, found: Description) -> None:
        if self.contents.newest(ModelName(prepared.name)) == prepared:
            self.contents.describe(prepared, found)
