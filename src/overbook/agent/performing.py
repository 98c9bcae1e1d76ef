"""Begins what the core asks for, each effect by a call to whoever does it. Waits for nothing and decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from overbook.agent.accusing import Accuser
from overbook.agent.contents import Contents
from overbook.agent.followers import Followers
from overbook.agent.notices import Notices
from overbook.agent.operations import Operations
from overbook.agent.waiters import Waiters
from overbook.residency import effects as fx
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName


@dataclass(frozen=True, slots=True)
class Performer:
    """Of one server replica. ``leaving``: the agent ends, and its server with it, or the server keeps what it has.
    ``files_freed``: is told when files of a model may leave the disk, or will soon; ``left``: of models that are
    forgotten.
    """

    entries: Mapping[ModelName, Entry]
    waiters: Waiters
    operations: Operations
    followers: Followers
    contents: Contents
    accuser: Accuser
    notices: Notices
    leaving: Callable[[], bool]
    files_freed: Callable[[], None]
    left: Callable[[str], None]

    def begin(self, effect: fx.Effect) -> None:
        """In the order in which the core gave them."""
        match effect:
            case fx.Grant(request):
                self.waiters.answer(request)
            case fx.Reject(request, refusal, reason, retry_after):
                refused = self.waiters.answer(request, refusal, reason, retry_after)
                if refused is not None:
                    self.notices.changed(refused)
            case fx.Load(model, generation):
                self.notices.changed(model)
                prepared = self.contents.begin_load(model, generation)
                self.operations.load(prepared, self.contents.loaded(model))
            case fx.Unload(model):
                self.notices.changed(model)
                if not self.leaving():  # else to wait for the unload would be for nothing
                    idle = self.entries[model].in_flight == 0
                    self.operations.unload(model, self.contents.loaded(model), idle=idle)
            case fx.Verify(model):
                self.operations.verify(model)
            case fx.Publish(model):
                self.operations.stop_settling(model)
                self.followers.publish(model)
                self.notices.changed(model)
            case fx.Withdraw(model, ticket, cause):
                self.followers.withdraw(model, ticket)
                self.notices.changed(model)
                if cause is fx.Cause.DISK:
                    self.files_freed()
            case fx.Settle(model, ticket):
                self.operations.settle(model, ticket, self.followers.passed_on(model))
            case fx.Evicted(model, cause):
                self.contents.left(model)
                entry = self.entries.get(model)
                self.notices.evicted(model, cause, None if entry is None else entry.left_for)
                self.files_freed()
            case fx.Forgotten(model):
                self._forget(model)

    def _forget(self, model: ModelName) -> None:
        self.contents.forget(model)
        self.accuser.forgive(model)
        self.notices.forgotten(model)
        self.left(model)
