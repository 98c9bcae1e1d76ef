"""The rest of the world around one core: inference server, gateways and clients, as late and perverse as is legal.

Keeps what was asked of it until somebody decides that it is done. Calls of the inference server for one model are
answered in the order in which they were asked, as the agent makes them. Time is a number.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import pytest

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.chosen import ChosenOrder
from overbook.residency.core import Core, IllegalEvent
from overbook.residency.effects import Effect
from overbook.residency.events import Event, ModelName, RequestId, Ticket
from overbook.residency.policy import EvictionOrder, LeastRecentlyUsed
from overbook.residency.replica import Limits
from overbook.residency.states import State
from tests.unit.residency.mirror import Mirror

Call = fx.Load | fx.Unload | fx.Verify
# Of stories. Long waits, and room made ahead, are the business of those that say so.
LIMITS: Final = Limits(unseen=0.25, drain_timeout=5.0, retry_max=8.0, headroom=0.0, patience=60.0)


def snapshot(thing: object) -> object:
    """Everything reachable from it as nested tuples, so that two moments can be compared."""
    if isinstance(thing, Mapping):
        return tuple((snapshot(key), snapshot(value)) for key, value in thing.items())
    if isinstance(thing, (list, tuple, deque)):
        return tuple(snapshot(one) for one in thing)
    if isinstance(thing, (set, frozenset)):
        return frozenset(snapshot(one) for one in thing)
    names = getattr(type(thing), "__slots__", None)
    if names is not None and type(thing).__module__.startswith("overbook"):
        return tuple(
            (name, snapshot(getattr(thing, name))) for name in sorted(names) if name != "_handlers"
        )
    if type(thing).__module__.startswith("overbook") and hasattr(thing, "__dict__"):
        return snapshot(vars(thing)) if not isinstance(thing, type) and vars(thing) else repr(thing)
    return repr(thing)


def _choose(core: Core, policy: str) -> None:
    order = core._replica.order
    if isinstance(order, ChosenOrder):
        order.choose(policy)


class World:
    def __init__(
        self, budget: int, limits: Limits, order: Callable[[], EvictionOrder] = LeastRecentlyUsed
    ) -> None:
        self.budget, self.limits, self.order = budget, limits, order
        self.core = Core(budget=budget, limits=limits, order=order())
        self.mirror = Mirror(budget, limits, by_time=order is LeastRecentlyUsed)
        self.now = 100.0
        # A policy's name stands for the choice of it.
        self.log: list[tuple[Event | str, float, list[Effect]]] = []
        self.calls: dict[ModelName, deque[Call]] = {}
        self.withdrawals: dict[ModelName, Ticket] = {}
        self.settling: dict[ModelName, Ticket] = {}
        self.granted: dict[RequestId, ModelName] = {}
        self.old_tickets: list[tuple[ModelName, Ticket]] = []
        self.model_of: dict[RequestId, ModelName] = {}
        self.next_request = 0
        self.sound = True  # no law was seen broken

    # -- saying

    def say(self, event: Event) -> list[Effect]:
        """Tell the core something legal, and check everything about its answer."""
        self.sound = False
        self.mirror.before(event, self.now)
        ranking = tuple(self.core._replica.order.order(self.now))
        if isinstance(event, ev.ServerDown):
            self.calls.clear()
            self.withdrawals.clear()
            self.settling.clear()
        elif isinstance(event, (ev.Passed, ev.RequestLeft)):
            self.granted.pop(event.request, None)
        elif isinstance(event, ev.Withdrawn) and self.withdrawals.get(event.model) == event.ticket:
            del self.withdrawals[event.model]
        effects = self.core.handle(event, self.now)
        self.log.append((event, self.now, list(effects)))
        for effect in effects:
            self._take(effect)
        begun = [effect.model for effect in effects if isinstance(effect, fx.Load)]
        self.mirror.begun = {model: self.core.ledger.of(model) for model in begun}
        self.mirror.after(event, effects, self.now, ranking)
        self.compare()
        self.sound = True
        return effects

    def choose(self, policy: str) -> None:
        """Another policy from now on, where the order can be changed."""
        _choose(self.core, policy)
        self.log.append((policy, self.now, []))

    def say_illegal(self, event: Event) -> str:
        """Law 8: it raises and changes nothing. Returns what the core said of it."""
        before = snapshot(self.core)
        with pytest.raises(IllegalEvent) as refused:
            self.core.handle(event, self.now)
        assert snapshot(self.core) == before
        return str(refused.value)

    def _take(self, effect: Effect) -> None:
        match effect:
            case fx.Load(model) | fx.Unload(model) | fx.Verify(model):
                self.calls.setdefault(model, deque()).append(effect)
            case fx.Withdraw(model, ticket):
                self.withdrawals[model] = ticket
            case fx.Settle(model, ticket):
                assert model not in self.withdrawals
                self.settling[model] = ticket
            case fx.Publish(model):
                self._cancel_drain(model)
            case fx.Grant(request):
                self.granted[request] = self.model_of[request]
            case _:
                pass
        if isinstance(effect, fx.Unload):
            self._cancel_drain(effect.model)

    def _cancel_drain(self, model: ModelName) -> None:
        for asked in (self.withdrawals, self.settling):
            ticket = asked.pop(model, None)
            if ticket is not None:
                self.old_tickets.append((model, ticket))

    def compare(self) -> None:
        """The core's replica equal the onlooker's."""
        core, mirror = self.core, self.mirror
        assert set(core.entries) == set(mirror.models)
        for model, entry in core.entries.items():
            seen = mirror.models[model]
            state = State.COLD if entry.state is State.FAILED else entry.state
            assert state is seen.state, model
            assert core.ledger.of(model) == seen.charge, model
            assert entry.in_flight == seen.in_flight
            assert entry.granted == len(seen.granted)
            assert entry.last_used == seen.last_used
            assert entry.size == seen.size
        statistics = core.statistics()
        assert statistics.charged == mirror.total
        assert statistics.waiting == len(mirror.waiters)
        self._audit()

    def _audit(self) -> None:
        """Sums that are kept step by step equal the sums of their parts, and what is under way fits the state."""
        replica = self.core._replica
        sums, entries = replica.sums, replica.entries.values()
        leaving = [e for e in entries if e.state is State.DRAINING]
        momentary = sum(replica.entries[model].loading_extra for model in replica.loading)
        assert sums.coming_back == self.mirror.returning() + momentary
        assert sums.pinned_bytes == sum(sums.held_by_pin(e) for e in entries)
        assert replica.by_size.total == sum(e.size for e in entries)
        idle = [e for e in replica.entries.values() if not (e.pinned or e.busy)]
        assert sums.idle_bytes == sum(
            replica.ledger.of(e.model) for e in idle if e.state is State.RESIDENT
        )
        assert set(replica.draining) == {entry.model for entry in leaving}
        deadlines = [entry.drain_deadline for entry in replica.draining.values()]
        assert deadlines == sorted(deadlines)
        serving = {
            m for m, e in replica.entries.items() if e.state in (State.RESIDENT, State.RELOADING)
        }
        assert set(replica.order.order(self.now)) == serving
        for model in replica.pending:
            assert replica.entries[model].state in (State.COLD, State.FAILED)
            assert replica.waiting.waiting_for(model)
        for model in replica.stale:
            assert replica.entries[model].state is State.RESIDENT
        assert {replica.entries[model].state for model in replica.refused} <= {State.FAILED}
        for entry in entries:
            loads = entry.state in (State.LOADING, State.RELOADING)
            assert (entry.loading is not None) is loads is (entry.model in replica.loading)
            assert (entry.drain is not None) is (entry.state is State.DRAINING)
            assert (entry.unloading is not None) is (entry.state is State.UNLOADING)

    # -- the world's moves

    def arrive(
        self, model: ModelName, patience: float = math.inf, *, suspect: bool = False
    ) -> RequestId:
        self.next_request += 1
        request = RequestId(self.next_request)
        self.model_of[request] = model
        self.say(ev.RequestArrived(request, model, self.now + patience, suspect))
        return request

    def make_resident(self, *models: ModelName) -> None:
        """In this order, so that the first is the least recently used; afterwards all are certainly idle."""
        for model in models:
            self.arrive(model)
            self.answer(model)
            self.pass_on(model)
            self.now += 1.0
        self.say(ev.Tick())

    def answer(
        self,
        model: ModelName,
        *,
        fail: bool = False,
        passing: bool = False,
        measured: int | None = None,
        seconds: float | None = None,
        present: bool = True,
    ) -> None:
        """The inference server is done with the oldest call for the model."""
        call = self.calls[model].popleft()
        if not self.calls[model]:
            del self.calls[model]
        if isinstance(call, fx.Unload):
            self.say(ev.Unloaded(model))
        elif isinstance(call, fx.Verify):
            self.say(ev.Verified(model, present))
        elif fail:
            self.say(ev.LoadFailed(model, f"cannot read '{model}'", passing))
        else:
            self.say(ev.LoadSucceeded(model, measured, seconds))

    def pass_on(self, *models: ModelName) -> None:
        """What was granted of these models, or of all, goes to the server."""
        for request, model in tuple(self.granted.items()):
            if model in models or not models:
                self.say(ev.Passed(request))

    def withdrawn(self, model: ModelName) -> None:
        self.say(ev.Withdrawn(model, self.withdrawals[model]))

    def drained(self, model: ModelName) -> None:
        """Whatever is left of its drain is done: route away, granted requests passed on, nothing in flight."""
        self.pass_on(model)
        if model in self.withdrawals:
            self.withdrawn(model)
        if model in self.settling:
            self.say(ev.Drained(model, self.settling[model]))

    def settle(self) -> None:
        """Everybody does at once what is asked: then every request that waits ends, in a bounded number of steps."""
        mirror = self.mirror
        if mirror.recycling:
            self.say(ev.ServerDown())
        if not mirror.up:
            self.say(ev.ServerUp())
        self.say(ev.Withhold(0))
        self._settle_use()
        bound = 40 * (len(mirror.models) + 2)
        for _ in range(bound):
            if self.calls:
                self.answer(next(iter(self.calls)))
            elif self.granted:
                self.pass_on()
            elif leaving := (*self.withdrawals, *self.settling):
                self.drained(leaving[0])
            elif mirror.waiters:
                wake = self.core.next_wakeup()
                assert wake < math.inf, f"deadlock: {mirror.waiters} wait for nothing"
                self.now = max(self.now, wake)
                self.say(ev.Tick())
            else:
                return
        raise AssertionError(f"livelock: after {bound} steps {mirror.waiters} still wait")

    def _settle_use(self) -> None:
        for model, seen in tuple(self.mirror.models.items()):
            if seen.in_flight:
                self.say(ev.UsageSeen(model, 0, self.now))

    def replay(self) -> None:
        """Law 8: the same log gives the same effects."""
        again = Core(budget=self.budget, limits=self.limits, order=self.order())
        for event, now, effects in self.log:
            if isinstance(event, str):
                _choose(again, event)
            else:
                assert again.handle(event, now) == effects
        assert again.next_wakeup() == self.core.next_wakeup()
        assert snapshot(again.entries) == snapshot(self.core.entries)
        assert snapshot(again.ledger) == snapshot(self.core.ledger)
