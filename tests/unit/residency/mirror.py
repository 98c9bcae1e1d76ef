"""What an onlooker who sees only events and effects must believe about one server replica, and the laws it checks.

Written without looking at how the core works: charges, states and obligations are worked out again from the
contract (`events`, `effects`) and compared. Each check names the law of DESIGN section 4 that it is for.
"""

from __future__ import annotations

import math

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.effects import Cause, Effect, Refusal
from overbook.residency.events import Event, ModelName, RequestId
from overbook.residency.replica import Limits
from overbook.residency.states import State
from tests.unit.residency.disk_mirror import DiskMirror
from tests.unit.residency.leaving import first_that_suffice
from tests.unit.residency.seen import LEAVING, LoadedLast, Seen, Waiter

DEFICIT = (Cause.BUDGET, Cause.SURPRISE, Cause.LOST, Cause.GUARD)
IN_MEMORY = (State.LOADING, State.RESIDENT, State.RELOADING, *LEAVING)


class Mirror:
    """Follows one core. Every method raises AssertionError when a law is broken."""

    def __init__(self, budget: int, limits: Limits, *, by_time: bool) -> None:
        # Eviction by the time of the last use; else the policy's word is taken.
        self.by_time = by_time
        self.budget = budget
        self.limits = limits
        self.models: dict[ModelName, Seen] = {}
        self.waiters: dict[RequestId, Waiter] = {}
        self.ended: set[RequestId] = set()
        self.begun: dict[ModelName, int] = {}  # charges of the loads that began in this event
        self.up = self.recycling = False
        self.demanded = False  # a request's load began, and no room was made ahead since
        self.withheld = 0
        self.surprised = (
            False  # a named deficit: the budget shrank, or more was measured than charged
        )
        self.loads: dict[ModelName, int] = {}
        self.disk = DiskMirror(self.models, limits, self.waiting_for, self.eligible)

    @property
    def total(self) -> int:
        return sum(seen.charge for seen in self.models.values())

    @property
    def free(self) -> int:
        return self.budget - self.withheld - self.total

    def returning(self) -> int:
        return sum(
            seen.charge
            for seen in self.models.values()
            if seen.state is State.UNLOADING
            or (seen.state is State.DRAINING and seen.in_flight == 0 and not seen.granted)
        )

    def held_by_pin(self, seen: Seen) -> int:
        """Bytes that no pressure can free; what is only reserved for a load is not meant to stay."""
        if not seen.pinned or seen.state not in IN_MEMORY or seen.state in LEAVING:
            return 0
        if seen.state is State.RELOADING:
            return min(seen.loaded, seen.loading)
        return seen.loading if seen.state is State.LOADING else seen.charge

    def room_for(self, seen: Seen) -> int:
        pinned = sum(self.held_by_pin(one) for one in self.models.values() if one is not seen)
        return self.budget - pinned

    def stand_in(self, seen: Seen, held_before: int = 0) -> LoadedLast | None:
        """What a load that begins now takes, if not the newest. ``held_before``: bytes that pins held besides."""
        good = seen.good
        if seen.state in IN_MEMORY or good is None or good.generation == seen.generation:
            return None
        room = self.room_for(seen) - held_before
        known_bad = seen.failures and not good.made_way
        return good if good.size <= room and (known_bad or seen.size > room) else None

    def needs(self, seen: Seen, held_before: int = 0) -> int:
        """Bytes that a load is charged: what is reserved for it, but never so much that it could not be loaded."""
        good = self.stand_in(seen, held_before)
        if good is not None:
            return good.size
        old = seen.loaded if seen.state in (State.RESIDENT, State.RELOADING) else 0
        room = self.room_for(seen) - held_before - self.withheld - old
        return max(seen.size, min(seen.reserve, room))

    def _most(self, seen: Seen, held_before: int) -> int:
        """Bytes beyond which no load of it can have been promised anything."""
        good = self.stand_in(seen, held_before)
        # A pinned model whose load began in this event leaves less to reserve; before it, all was needed.
        return max(seen.size, seen.reserve) if good is None else good.size

    def waiting_for(self, model: ModelName) -> int:
        return sum(1 for waiter in self.waiters.values() if waiter.model == model)

    def eligible(self, model: ModelName, now: float) -> bool:
        """Laws 3 and 9: may it leave for another's sake?"""
        seen = self.models[model]
        return not (
            seen.state is not State.RESIDENT
            or seen.pinned
            or seen.in_flight
            or seen.verifying
            or seen.granted
            or not seen.charge
        )

    def uncertain(self, model: ModelName, now: float) -> bool:
        """Was a request passed on so lately that no meter can have seen it?"""
        return now < self.models[model].passed_at + self.limits.unseen

    # -- events

    def before(self, event: Event, now: float) -> None:
        """Take in a legal event, before its effects."""
        match event:
            case ev.Register():
                self._register(event, now)
            case ev.Remove(model):
                seen = self.models[model]
                seen.removed, seen.good = True, None
                if seen.state is State.DRAINING:
                    seen.cause = Cause.REMOVED
            case ev.EvictRequested(model):
                seen = self.models[model]
                for_others = seen.cause in (Cause.PRESSURE, Cause.AHEAD, Cause.DISK)
                if seen.state is State.DRAINING and for_others:
                    seen.cause = Cause.REQUESTED
            case ev.RequestArrived(request, model, deadline, _):
                since = [one.since for one in self.waiters.values() if one.model == model]
                self.waiters[request] = Waiter(model, deadline, min(since, default=now))
            case ev.RequestLeft(request):
                if self.waiters.pop(request, None) is not None:
                    self.ended.add(request)
                self._pass(request, now)
            case ev.Passed(request):
                self._pass(request, now)
            case ev.Withdrawn(model, ticket):
                told = self.models.get(model)
                if told is not None and told.state is State.DRAINING and told.ticket == ticket:
                    told.acknowledged = True
            case ev.Drained(model, ticket):
                told = self.models.get(model)
                if told is not None and told.state is State.DRAINING and told.ticket == ticket:
                    told.in_flight = 0
            case ev.UsageSeen(model, in_flight, last_active):
                used = self.models.get(model)
                if used is not None and used.state in IN_MEMORY:
                    used.in_flight = in_flight
                    if last_active > used.last_used:
                        used.last_used = min(now, last_active)
            case ev.LoadSucceeded(model, measured, seconds):
                self._load_succeeded(self.models[model], measured)
                if seconds is not None:
                    before = self.models[model].seconds
                    third = seconds if before is None else before + (seconds - before) / 3
                    self.models[model].seconds = third
            case ev.LoadFailed(model, reason, passing):
                self._load_failed(self.models[model], reason, passing, now)
            case ev.TryAgain(model):
                seen = self.models[model]
                if seen.good is not None:
                    seen.good.forgive()
                if seen.size <= self.budget:
                    seen.forgive()
            case ev.HoldBack(model, generation, reason, until):
                seen = self.models[model]
                if generation == seen.generation:
                    seen.held_back(reason, until)
                elif seen.good is not None and generation == seen.good.generation:
                    seen.good.held_back(reason, until)
            case ev.Unloaded(model):
                self._cool(self.models[model])
            case ev.Verified(model, present):
                seen = self.models[model]
                seen.verifying = False
                if not present and seen.state is State.RESIDENT:
                    self._cool(seen)
            case ev.ServerDown():
                self._server_down()
            case ev.ServerUp():
                self.up = True
            case ev.BudgetChanged(budget):
                self._has_room(budget, self.withheld)
            case ev.Withhold(size):
                self._has_room(self.budget, size)
            case ev.Measured(model, size, withheld):
                self._has_room(self.budget, self.withheld if withheld is None else withheld)
                self._measured(self.models[model], size)
            case ev.DiskRoomWanted():
                self.disk.wants(event)
            case ev.Recycle() if self.up:
                self.up, self.recycling = False, True
                for seen in self.models.values():
                    kept = seen.cause in (Cause.REMOVED, Cause.UPDATED)
                    if seen.state is State.DRAINING and not kept:
                        seen.cause = Cause.RECYCLED
            case _:
                pass

    def _has_room(self, budget: int, withheld: int) -> None:
        self.budget, self.withheld = budget, withheld
        self.surprised = self.surprised or self.free < 0

    def _pass(self, request: RequestId, now: float) -> None:
        for seen in self.models.values():
            if request in seen.granted:
                seen.granted.discard(request)
                seen.passed_at = now

    def _register(self, event: ev.Register, now: float) -> None:
        seen = self.models.get(event.model)
        if seen is None:
            self.models[event.model] = Seen.first(event, now)
            return
        seen.applied(event.generation)
        seen.keep_alive, seen.reserve, seen.peak = event.keep_alive, event.reserve, event.peak
        other = event.generation != seen.generation
        changed = other or (event.size != seen.size and not seen.barred)
        staying = seen.state is State.RESIDENT
        if seen.removed and seen.state is State.DRAINING:
            staying = seen.loaded_generation not in seen.deleted  # else it never serves again
            if self.recycling:
                staying, seen.cause = False, Cause.RECYCLED
            elif not staying:
                seen.cause = Cause.UPDATED
            else:
                seen.good = LoadedLast(seen.loaded_generation, seen.loaded, event.peak)
        seen.size, seen.generation = event.size, event.generation
        seen.pinned, seen.priority, seen.removed = event.pinned, event.priority, False
        self._same_good(seen)
        if not changed:
            return
        seen.forgive()
        if staying and seen.loaded_generation == seen.generation:
            if (more := seen.size - seen.loaded) <= max(0, self.free):
                seen.charge += more
                seen.loaded = seen.size
        elif seen.state in (State.LOADING, State.RELOADING):
            old = seen.loaded if seen.state is State.RELOADING else 0
            extra = seen.charge - old - seen.loading
            more = seen.size - seen.loading - extra
            if seen.loading_generation == seen.generation and more <= max(0, self.free):
                seen.loading = seen.size
                seen.charge = old + max(
                    seen.size, min(seen.charge - old, max(seen.reserve, seen.peak))
                )

    def _same_good(self, seen: Seen) -> None:
        if seen.good is not None and seen.good.generation == seen.generation:
            seen.good.size, seen.good.peak = seen.size, seen.peak

    def _load_succeeded(self, seen: Seen, measured: int | None) -> None:
        assert seen.state in (State.LOADING, State.RELOADING)
        seen.state = State.RESIDENT
        seen.loaded = seen.charge = seen.loading if measured is None else measured
        seen.loaded_generation = seen.loading_generation
        if measured is not None and seen.loaded_generation == seen.generation:
            seen.size = measured
        if seen.loaded_generation == seen.generation:
            seen.forgive()
        if not seen.removed and seen.loaded_generation not in seen.deleted:
            seen.good = LoadedLast(seen.loaded_generation, seen.loaded, seen.loading_peak)
        self.surprised = self.surprised or self.free < 0

    def _measured(self, seen: Seen, size: int) -> None:
        if seen.state in (State.LOADING, State.RELOADING):
            return
        if seen.loaded_generation != seen.generation:
            return
        seen.size = seen.loaded = size
        self._same_good(seen)
        if seen.state is not State.UNLOADING:
            seen.charge = size
        self.surprised = self.surprised or self.free < 0

    def _load_failed(self, seen: Seen, reason: str, passing: bool, now: float) -> None:
        if seen.loading_generation == seen.generation:
            seen.failed(reason, self.limits, now, passing=passing)
        elif (good := seen.good) is not None and good.generation == seen.loading_generation:
            good.failed(reason, self.limits, now)
        if seen.state is State.LOADING:
            self._cool(seen)
        else:
            seen.state, seen.charge = State.RESIDENT, seen.loaded

    def _cool(self, seen: Seen) -> None:
        seen.state, seen.charge, seen.in_flight, seen.hot = State.COLD, 0, 0, False
        seen.granted.clear()
        seen.passed_at = -math.inf

    def _server_down(self) -> None:
        self.up = self.recycling = False
        self.withheld = 0
        for seen in self.models.values():
            if seen.state in IN_MEMORY:
                self._cool(seen)
            seen.verifying = False

    # -- effects

    def after(
        self, event: Event, effects: list[Effect], now: float, ranking: tuple[ModelName, ...]
    ) -> None:
        """Check the effects of the event one by one, then what must hold between events."""
        disk = [e.model for e in effects if isinstance(e, fx.Withdraw) and e.cause is Cause.DISK]
        for effect in effects:
            self._effect(event, effect, now)
            if isinstance(effect, fx.Withdraw) and disk and effect.model == disk[-1]:
                self.disk.check_victims(disk, now)
        if any(isinstance(e, fx.Withdraw) and e.cause is Cause.AHEAD for e in effects):
            self.demanded = False
        self._between(now)
        fixed = isinstance(event, (ev.RequestArrived, ev.Tick)) or self.by_time
        self._victims(effects, now, ranking if fixed else ())

    def _effect(self, event: Event, effect: Effect, now: float) -> None:
        match effect:
            case fx.Load():
                self._load(effect, now)
            case fx.Withdraw():
                self._withdraw(effect, now)
            case fx.Publish(model):
                seen = self.models[model]
                if isinstance(event, ev.RequestArrived) and event.model == model:
                    for_disk = seen.cause is Cause.DISK and self.disk.holds_files(model)
                    assert not (for_disk and self.disk.late(now)), (
                        "who waits for the disk waits for ever"
                    )
                loaded = isinstance(event, ev.LoadSucceeded) and event.model == model
                assert seen.state is State.DRAINING or (loaded and seen.state is State.RESIDENT)
                seen.state, seen.hot = State.RESIDENT, True
            case fx.Unload(model):
                seen = self.models[model]
                assert seen.state is State.DRAINING, "law 5: unload only after draining"
                if now < seen.withdrawn_at + self.limits.drain_timeout:
                    assert event == ev.Drained(model, seen.ticket), "law 5: nobody said it drained"
                    assert not seen.granted, "law 9: a granted request is still on its way"
                    assert seen.settling
                seen.state = State.UNLOADING
            case fx.Settle(model, ticket):
                seen = self.models[model]
                assert seen.state is State.DRAINING
                assert ticket == seen.ticket
                assert seen.acknowledged, "law 5: the route is still there"
                assert not seen.granted, "law 9: a granted request is still on its way"
                assert not seen.settling, "asked twice"
                seen.settling = True
            case fx.Verify(model):
                seen = self.models[model]
                assert seen.state is State.RESIDENT
                assert not seen.verifying
                seen.verifying = True
            case fx.Evicted(model, cause):
                assert event == ev.Unloaded(model)
                assert self.models[model].cause is cause
            case fx.Forgotten(model):
                seen = self.models.pop(model)
                assert seen.removed
                assert seen.state is State.COLD
                assert not self.waiting_for(model)
            case fx.Grant(request):
                self._grant(request, now)
            case fx.Reject():
                self._reject(effect, now)

    def _load(self, effect: fx.Load, now: float) -> None:
        model, seen = effect.model, self.models[effect.model]
        assert self.up
        assert not seen.removed
        good = None if effect.reload else self.stand_in(seen)
        assert effect.generation == (seen.generation if good is None else good.generation)
        retry_at = seen.retry_at if good is None else good.retry_at
        assert now >= retry_at, "law 7: no load before its backoff is over"
        needs = self.needs(seen)
        if effect.reload:
            assert seen.state is State.RESIDENT
            assert seen.loaded_generation != seen.generation
            assert not seen.verifying
            seen.state = State.RELOADING
        else:
            assert seen.state is State.COLD, "law 6: one load per model at a time"
            if not self.waiting_for(model):
                others = [name for name in self.models if self._wanted_cold(name)]
                assert not others, "law 6: nothing is loaded for nobody while somebody waits"
            else:
                self.demanded = True
            seen.state, seen.loaded = State.LOADING, 0
        seen.loading = seen.size if good is None else good.size
        seen.loading_generation = effect.generation
        seen.loading_peak = seen.peak if good is None else good.peak
        lent = self.begun[model] - seen.loaded - needs
        assert 0 <= lent <= max(0, seen.loading_peak - needs), (
            "no more is lent than the load takes for a moment"
        )
        seen.charge = seen.loaded + needs + lent
        if seen.good is not None:
            seen.good.made_way = False
        assert self.free >= 0, "law 1: no load beyond the budget"
        self._places(seen, now)

    def _places(self, begun: Seen, now: float) -> None:
        """Law 6: the load that begins has a place. What nobody was told the length of may count as either kind."""
        loading = (State.LOADING, State.RELOADING)
        others = [one for one in self.models.values() if one.state in loading and one is not begun]
        certain = [one for one in others if one.seconds is not None]
        limit = self.limits.long_after
        late = sum(now >= one.load_began + limit for one in others)
        short = sum(
            now < one.load_began + limit and (one.seconds or 0.0) <= limit for one in certain
        )
        long = sum((one.seconds or 0.0) > limit and now < one.load_began + limit for one in certain)
        if begun.seconds is not None and begun.seconds > limit:
            assert late + long < self.limits.long_loads, "law 6: bounded concurrency of long loads"
        elif begun.seconds is not None:
            assert short < self.limits.concurrent_loads, "law 6: bounded concurrency"
        every = max(1, self.limits.concurrent_loads) + self.limits.long_loads
        assert len(others) - late < every, "law 6: so many can never begin at once"
        begun.load_began = now

    def _wanted_cold(self, model: ModelName) -> bool:
        return self.models[model].state is State.COLD and self.waiting_for(model) > 0

    def _withdraw(self, effect: fx.Withdraw, now: float) -> None:
        seen = self.models[effect.model]
        assert effect.ticket > seen.ticket
        seen.ticket, seen.hot = effect.ticket, False
        if seen.state is State.RELOADING:
            assert seen.removed, "its old copy serves until the new one does"
            assert effect.cause is Cause.REMOVED
            return
        assert seen.state is State.RESIDENT
        if effect.cause in (Cause.PRESSURE, *DEFICIT):
            assert self.eligible(effect.model, now), "laws 3 and 9: busy or pinned"
        if effect.cause is Cause.RECYCLED:
            assert self.recycling
        if effect.cause is Cause.AHEAD:
            self._ahead(effect.model, now)
        if effect.cause is Cause.DISK:
            self.disk.check_leaving(effect.model, now)
        if effect.cause is Cause.FAIRNESS:
            self._fairness(effect.model, now)
        if effect.cause in DEFICIT:
            assert self.surprised, "law 1: only a named deficit evicts for the budget"
        if effect.cause is Cause.UPDATED and seen.good is not None:
            seen.good.made_way = True
        seen.state, seen.cause = State.DRAINING, effect.cause
        seen.withdrawn_at, seen.acknowledged, seen.settling = now, False, False

    def _ahead(self, model: ModelName, now: float) -> None:
        seen = self.models[model]
        assert self.eligible(model, now), "laws 3 and 9: busy or pinned"
        assert not self.uncertain(model, now), "law 3: perhaps busy, and nobody needs its room now"
        assert now >= seen.last_used + seen.keep_alive, (
            "nobody waits for the room of one kept alive"
        )
        assert self.demanded, "no room is made ahead where nothing is asked for"
        assert not any(self._wanted_cold(name) for name in self.models), "who waits goes first"
        cold = sum(one.size for one in self.models.values()) - self.total
        assert cold > 0, "everything is in memory"

    def _fairness(self, model: ModelName, now: float) -> None:
        seen = self.models[model]
        assert not seen.pinned
        assert not seen.verifying or seen.in_flight == 0
        waiting = {one.model for one in self.waiters.values() if self._wanted_cold(one.model)}
        assert any(
            now >= one.since + self.limits.patience
            for one in self.waiters.values()
            if one.model in waiting
        ), "nobody waited so long"
        given = sum(
            one.charge
            for one in self.models.values()
            if one.cause is Cause.FAIRNESS
            and one.state is State.DRAINING
            and not one.in_flight
            and not one.granted
        )
        needed = sum(self.needs(self.models[name]) for name in waiting)
        assert needed > self.free + self.returning() - given, "there is room for all who wait"

    def _end(self, request: RequestId) -> Waiter:
        assert request not in self.ended, "law 8: ended twice"
        self.ended.add(request)
        return self.waiters.pop(request)

    def _grant(self, request: RequestId, now: float) -> None:
        seen = self.models[self._end(request).model]
        assert seen.state in (State.RESIDENT, State.RELOADING)
        assert not seen.removed
        assert seen.loaded_generation not in seen.deleted, "what was deleted answers"
        seen.last_used = now
        seen.granted.add(request)

    def _reject(self, effect: fx.Reject, now: float) -> None:
        waiter = self._end(effect.request)
        assert effect.reason
        seen = self.models.get(waiter.model)
        if effect.refusal is Refusal.UNKNOWN:
            assert seen is None or seen.removed
            return
        assert seen is not None
        if effect.refusal is Refusal.DEADLINE:
            assert now >= waiter.deadline
        elif effect.refusal is Refusal.OVERLOADED:
            full = len(self.waiters) >= self.limits.max_waiting
            assert full or self.waiting_for(waiter.model) >= self.limits.max_waiting_per_model
        elif effect.refusal is Refusal.NO_ROOM:
            pinned = sum(
                one.loading if one.state is State.LOADING else one.charge
                for one in self.models.values()
                if one.pinned and one is not seen
            )
            assert seen.size > self.budget - pinned, "law 2: there was room"
            good_one = seen.good
            if good_one is not None and good_one.generation != seen.generation:
                assert good_one.size > self.budget - pinned, "law 2: there was room"
        else:
            good_one = self.stand_in(seen)
            reason, retry_at = (
                (seen.reason, seen.retry_at)
                if good_one is None
                else (good_one.reason, good_one.retry_at)
            )
            assert reason == effect.reason, "law 7: the server's own reason"
            given_up = retry_at == math.inf
            assert (effect.retry_after == 0.0) is given_up
            assert given_up or math.isclose(effect.retry_after, retry_at - now)

    # -- between events

    def _between(self, now: float) -> None:
        if self.free >= 0:
            self.surprised = False
        assert self.free >= 0 or self.surprised, "law 1: charged bytes exceed the budget"
        assert len(self.waiters) <= self.limits.max_waiting
        for model in {waiter.model for waiter in self.waiters.values()}:
            assert self.waiting_for(model) <= self.limits.max_waiting_per_model
            assert model in self.models
            assert not self.models[model].removed
        for request, waiter in self.waiters.items():
            assert now < waiter.deadline, f"law 6: {request} waits past its deadline"
        for model, seen in self.models.items():
            if seen.state is State.DRAINING and seen.acknowledged and not seen.granted:
                assert seen.settling, f"law 5: {model} was not asked to settle"
            late = now >= seen.withdrawn_at + self.limits.drain_timeout
            assert not (seen.state is State.DRAINING and late), f"law 5: {model} drains too long"
            outlived = seen.removed or seen.loaded_generation in seen.deleted
            assert not (seen.hot and outlived), f"what was deleted has a route: {model}"

    def _victims(self, effects: list[Effect], now: float, ranking: tuple[ModelName, ...]) -> None:
        """Laws 2 and 4: the victims suffice, none is superfluous, and they are the first in order.

        ``ranking``: the policy's order before the event, empty when the event may have changed it.
        """
        victims = [
            effect.model
            for effect in effects
            if isinstance(effect, fx.Withdraw) and effect.cause is Cause.PRESSURE
        ]
        if not victims:
            return
        spare = self.free + self.returning() + sum(seen.momentary for seen in self.models.values())
        wanted = [seen for name, seen in self.models.items() if self._wanted_cold(name)]
        stale = self._stale().values()
        needs = [self.needs(seen) for seen in (*wanted, *stale)]
        # A pinned model that makes way for its own update still held its bytes when the victims were chosen.
        swapped = (
            e.model for e in effects if isinstance(e, fx.Withdraw) and e.cause is Cause.UPDATED
        )
        moments = 0, sum(self.models[name].charge for name in swapped if self.models[name].pinned)
        least = [self.needs(seen, held) for seen in (*wanted, *stale) for held in moments]
        assert min(least, default=math.inf) <= spare, "law 2: drained in vain"
        most = sum(max(self._most(seen, held) for held in moments) for seen in (*wanted, *stale))
        for victim in victims:
            superfluous = most + self.models[victim].charge <= spare
            assert not superfluous, f"law 2: {victim} need not leave"
        others = [e for e in effects if isinstance(e, (fx.Load, fx.Publish))]
        budget_victims = [
            e for e in effects if isinstance(e, fx.Withdraw) and e.model not in victims
        ]
        if len(needs) == 1 and not others and not budget_victims and self.free >= 0:
            self._exact_victims(victims, needs[0] - spare, now, ranking)

    def _stale(self) -> dict[ModelName, Seen]:
        resident = {name: one for name, one in self.models.items() if one.state is State.RESIDENT}
        return {n: one for n, one in resident.items() if one.loaded_generation != one.generation}

    def _exact_victims(
        self, victims: list[ModelName], beyond: int, now: float, ranking: tuple[ModelName, ...]
    ) -> None:
        """One load waits and nothing else moved: the victim set is determined (law 4)."""
        missing = beyond + sum(self.models[name].charge for name in victims)
        stale = self._stale()
        pool = [name for name in self.models if self.eligible(name, now) and name not in stale]
        pool += victims

        if not set(pool) <= set(ranking):
            return

        def place(name: ModelName) -> tuple[bool, bool, int, float]:
            seen = self.models[name]
            kept = now < seen.last_used + seen.keep_alive
            turn = seen.last_used if self.by_time else ranking.index(name)
            return self.uncertain(name, now), kept, seen.priority, turn

        if len({place(name) for name in pool}) < len(pool):
            return  # used at the same moment: either may go first
        charges = {name: self.models[name].charge for name in sorted(pool, key=place)}
        chosen = first_that_suffice(charges, missing)
        assert sorted(chosen) == sorted(victims), "law 4: not the first in order"
