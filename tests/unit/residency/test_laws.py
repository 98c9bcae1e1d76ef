"""The laws of memory against an adversary: no legal order of events makes the core break one (DESIGN section 4).

The machine plays agent, gateways, inference server and clients. Every effect is performed late, early, wrongly or
not at all; `mirror` checks each answer of the core from outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.allocation import allocate
from overbook.residency.chosen import POLICIES, ChosenOrder
from overbook.residency.events import ModelName, RequestId, Ticket
from overbook.residency.policy import EvictionOrder, LeastRecentlyUsed
from overbook.residency.replica import Limits
from overbook.residency.states import State
from overbook.residency.worth import Worth
from tests.unit.residency.mirror import IN_MEMORY
from tests.unit.residency.world import World, snapshot

MODELS = [ModelName(name) for name in "abcdefg"]
STRANGER = ModelName("stranger")

models = st.sampled_from(MODELS)
sizes = st.integers(0, 14)
reserves = st.sampled_from([0, 0, 0, 4, 9, 40])
lengths = st.sampled_from([None, None, 0.01, 25.0])
picks = st.integers(0, 1000)


class Adversary(RuleBasedStateMachine):
    world: World

    @initialize(
        budget=st.integers(4, 16),
        loads=st.integers(1, 3),
        long_loads=st.integers(1, 2),
        lookahead=st.integers(0, 2),
        waiting=st.integers(1, 12),
        per_model=st.integers(1, 5),
        unseen=st.sampled_from([0.0, 0.25]),
        headroom=st.sampled_from([0.0, 1.0, 3.0]),
        patience=st.sampled_from([0.5, 2.0, 100.0]),
        known=st.lists(
            st.tuples(st.integers(0, 6), st.booleans(), reserves, lengths),
            min_size=3,
            max_size=len(MODELS),
        ),
        up=st.sampled_from([True, True, True, False]),
        order=st.sampled_from([LeastRecentlyUsed, Worth, ChosenOrder]),
    )
    def begin(
        self,
        budget: int,
        loads: int,
        long_loads: int,
        lookahead: int,
        waiting: int,
        per_model: int,
        unseen: float,
        headroom: float,
        patience: float,
        known: list[tuple[int, bool, int, float | None]],
        up: bool,
        order: Callable[[], EvictionOrder],
    ) -> None:
        limits = Limits(
            concurrent_loads=loads,
            long_loads=long_loads,
            lookahead=lookahead,
            max_waiting=waiting,
            max_waiting_per_model=per_model,
            unseen=unseen,
            headroom=headroom,
            patience=patience,
            drain_timeout=5.0,
            retry_max=8.0,
        )
        self.world = World(budget, limits, order)
        if up:
            self.world.say(ev.ServerUp())
        for model, (size, warm, reserve, length) in zip(MODELS, known, strict=False):
            proven = size > 2  # loaded before, so that it stands in for newer content
            self.world.say(
                ev.Register(
                    model,
                    size,
                    1,
                    warm=warm,
                    reserve=reserve,
                    load_seconds=length,
                    proven=proven,
                )
            )

    # -- assignments

    @rule(
        model=models,
        size=sizes,
        newer=st.sampled_from([0, 0, 1, 2]),
        pinned=st.sampled_from([False, False, False, True]),
        priority=st.sampled_from([0, 0, 0, 1, -1]),
        warm=st.booleans(),
        keep_alive=st.sampled_from([0.0, 0.0, 0.0, 1.0, 100.0]),
        reserve=reserves,
        peak=reserves,
    )
    def register(
        self,
        model: ModelName,
        size: int,
        newer: int,
        pinned: bool,
        priority: int,
        warm: bool,
        keep_alive: float,
        reserve: int,
        peak: int,
    ) -> None:
        seen = self.world.mirror.models.get(model)
        generation = 1 + newer if seen is None or seen.removed else seen.generation + newer
        event = ev.Register(
            model, size, generation, pinned, priority, warm, keep_alive, reserve=reserve, peak=peak
        )
        self.world.say(event)

    @rule(model=models, newer=st.integers(0, 1))
    def update(self, model: ModelName, newer: int) -> None:
        """New content, all else equal: the commonest change."""
        seen = self.world.mirror.models.get(model)
        if seen is not None and not seen.removed:
            generation = seen.generation + newer
            event = ev.Register(
                model,
                seen.size,
                generation,
                seen.pinned,
                seen.priority,
                keep_alive=seen.keep_alive,
                reserve=seen.reserve,
                peak=seen.peak,
            )
            self.world.say(event)

    @rule(pick=picks)
    @precondition(lambda self: bool(self.world.mirror.models))
    def remove(self, pick: int) -> None:
        known = list(self.world.mirror.models)
        self.world.say(ev.Remove(known[pick % len(known)]))

    @rule(pick=picks, newer=st.sampled_from([1, 0, -1]), asked=st.booleans())
    def replace(self, pick: int, newer: int, asked: bool) -> None:
        """Deleted and applied anew: other content, the same, or the one before it."""
        mirror = self.world.mirror
        held = [name for name, seen in mirror.models.items() if seen.state in IN_MEMORY]
        if held:
            model = held[pick % len(held)]
            seen = mirror.models[model]
            self.world.say(ev.Remove(model))
            self.world.say(ev.Register(model, seen.size, max(1, seen.generation + newer)))
            if asked:
                self.world.arrive(model)

    @rule(policy=st.sampled_from(sorted(POLICIES)))
    def another_policy(self, policy: str) -> None:
        """A person may change it at any time."""
        self.world.choose(policy)

    # -- clients

    @rule(
        model=models,
        patience=st.sampled_from([math.inf, math.inf, 0.0, 0.1, 3.0]),
        suspect=st.booleans(),
    )
    def one_request(self, model: ModelName, patience: float, suspect: bool) -> None:
        self.world.arrive(model, patience, suspect=suspect)

    @rule(model=models, count=st.integers(1, 4))
    def requests(self, model: ModelName, count: int) -> None:
        for _ in range(count):
            self.world.arrive(model)

    @rule()
    def one_request_for_each(self) -> None:
        for model in MODELS:
            self.world.arrive(model)

    @rule(pick=picks)
    def leave(self, pick: int) -> None:
        """Also requests that ended long ago, or never were."""
        waiting = [*self.world.mirror.waiters, *self.world.granted]
        chosen = waiting[pick % len(waiting)] if waiting and pick % 5 else RequestId(pick)
        self.world.say(ev.RequestLeft(chosen))

    @rule(model=models, fail=st.booleans(), measured=st.sampled_from([None, None, 3]))
    def request_and_answer(self, model: ModelName, fail: bool, measured: int | None) -> None:
        """An activation without delay, if the core lets it; the world ages meanwhile."""
        self.world.arrive(model)
        if isinstance(self.world.calls.get(model, [None])[0], fx.Load):
            self.world.answer(model, fail=fail, measured=measured)
        self.world.now += 0.1

    @rule()
    def all_leave(self) -> None:
        for request in list(self.world.mirror.waiters):
            self.world.say(ev.RequestLeft(request))

    # -- gateways

    @rule(
        model=models,
        in_flight=st.sampled_from([0, 0, 1, 3]),
        ago=st.sampled_from([0.0, 0.3, 2.0, -1.0, math.inf]),
    )
    def usage(self, model: ModelName, in_flight: int, ago: float) -> None:
        self.world.say(ev.UsageSeen(model, in_flight, self.world.now - ago))

    @rule(pick=picks)
    def passed(self, pick: int) -> None:
        """Also requests that were passed on before, whose model left, or that never were."""
        granted = list(self.world.granted)
        chosen = granted[pick % len(granted)] if granted and pick % 7 else RequestId(pick)
        self.world.say(ev.Passed(chosen))

    @rule()
    def all_passed(self) -> None:
        self.world.pass_on()

    @rule(pick=picks)
    @precondition(lambda self: bool(self.world.withdrawals))
    def withdrawn(self, pick: int) -> None:
        leaving = list(self.world.withdrawals)
        self.world.withdrawn(leaving[pick % len(leaving)])

    @rule(pick=picks)
    @precondition(lambda self: bool(self.world.settling))
    def drained(self, pick: int) -> None:
        leaving = list(self.world.settling)
        model = leaving[pick % len(leaving)]
        self.world.say(ev.Drained(model, self.world.settling[model]))

    @rule()
    def all_drained(self) -> None:
        for model in (*self.world.withdrawals, *self.world.settling):
            self.world.drained(model)

    @rule(pick=picks)
    @precondition(lambda self: bool(self.world.old_tickets))
    def drained_too_late(self, pick: int) -> None:
        """The answer to a withdrawal that a rescue or the deadline overtook."""
        model, ticket = self.world.old_tickets[pick % len(self.world.old_tickets)]
        self.world.say(ev.Tick())  # what is due by now is another matter
        self.world.say(ev.Tick())
        if self.world.withdrawals.get(model) != ticket and self.world.settling.get(model) != ticket:
            assert self.world.say(ev.Withdrawn(model, ticket)) == []
            assert self.world.say(ev.Drained(model, ticket)) == []

    # -- the inference server

    @rule(
        pick=picks,
        fail=st.sampled_from([False, False, False, True]),
        passing=st.booleans(),
        measured=st.sampled_from([None, None, None, 0, 2, 5, 20]),
        seconds=st.sampled_from([None, 0.01, 25.0]),
        present=st.booleans(),
    )
    @precondition(lambda self: bool(self.world.calls))
    def answer(
        self,
        pick: int,
        fail: bool,
        passing: bool,
        measured: int | None,
        seconds: float | None,
        present: bool,
    ) -> None:
        asked = list(self.world.calls)
        self.world.answer(
            asked[pick % len(asked)],
            fail=fail,
            passing=passing,
            measured=measured,
            seconds=seconds,
            present=present,
        )

    @rule(fail=st.booleans())
    def answer_all(self, fail: bool) -> None:
        for model in list(self.world.calls):
            self.world.answer(model, fail=fail)

    @rule(pick=picks)
    def try_again(self, pick: int) -> None:
        """A person insists."""
        if known := list(self.world.mirror.models):
            self.world.say(ev.TryAgain(known[pick % len(known)]))

    @rule(pick=picks, seconds=st.sampled_from([1.0, 20.0, math.inf]), older=st.booleans())
    def hold_back(self, pick: int, seconds: float, older: bool) -> None:
        """It ended the process; what it was may be known by an older number."""
        cold = [name for name, one in self.world.mirror.models.items() if one.charge == 0]
        cold = [name for name in cold if self.world.mirror.models[name].state not in IN_MEMORY]
        if cold:
            model = cold[pick % len(cold)]
            number = self.world.mirror.models[model].generation - older
            self.world.say(ev.HoldBack(model, number, "it killed", self.world.now + seconds))

    @rule(really=st.sampled_from([False, False, True]))
    def server_dies(self, really: bool) -> None:
        if really:
            self.world.say(ev.ServerDown())

    @rule(size=st.integers(0, 12), lost=st.booleans())
    def withhold(self, size: int, lost: bool) -> None:
        self.world.say(ev.Withhold(size, lost))

    @rule(pick=picks, size=sizes, withheld=st.none() | st.integers(0, 12))
    def measured(self, pick: int, size: int, withheld: int | None) -> None:
        """What a load really took is known a moment after it; perhaps room was kept for that."""
        held = [name for name, seen in self.world.mirror.models.items() if seen.state in IN_MEMORY]
        if held:
            self.world.say(ev.Measured(held[pick % len(held)], size, withheld))

    @rule(really=st.sampled_from([False, False, True]))
    def recycle(self, really: bool) -> None:
        if really:
            self.world.say(ev.Recycle())

    @rule()
    @precondition(lambda self: not self.world.mirror.up)
    def server_comes(self) -> None:
        if self.world.mirror.recycling:
            self.world.say_illegal(ev.ServerUp())
            self.world.say(ev.ServerDown())
        self.world.say(ev.ServerUp())

    # -- the disk

    @rule(
        share=st.sampled_from([0.1, 0.4, 0.7, 1.0, 1.5]),
        groups=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 3)), min_size=1, max_size=5),
        ago=st.sampled_from([0.0, 0.0, 0.4, 3.0, 200.0]),
    )
    def disk_room_wanted(self, share: float, groups: list[tuple[int, int]], ago: float) -> None:
        """Files of models in memory are in the way, some of them of several; what is said may be old by then."""
        held = [name for name, one in self.world.mirror.models.items() if one.state in IN_MEMORY]
        files = []
        for size, count in groups:
            together, held = held[:count], held[count - (size % 2) :]
            if together:
                files.append(ev.Files(size, tuple(together)))
        missing = max(1, round(share * sum(each.size for each in files)))
        self.world.say(ev.DiskRoomWanted(missing, tuple(files), self.world.now - ago))

    @rule()
    def disk_has_room(self) -> None:
        self.world.say(ev.DiskRoomWanted(0))

    @rule(model=models)
    def files_left(self, model: ModelName) -> None:
        """Of whatever: what is known of it may be old."""
        self.world.say(ev.FilesLeft(model))

    # -- people and time

    @rule(pick=picks)
    @precondition(lambda self: bool(self.world.mirror.models))
    def evict(self, pick: int) -> None:
        known = list(self.world.mirror.models)
        self.world.say(ev.EvictRequested(known[pick % len(known)]))

    @rule(budget=st.integers(1, 16))
    def budget_changes(self, budget: int) -> None:
        self.world.say(ev.BudgetChanged(budget))

    @rule(seconds=st.sampled_from([0.01, 0.25, 1.0, 2.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds
        self.world.say(ev.Tick())

    @rule(seconds=st.sampled_from([0.01, 0.2]))
    def time_passes_unseen(self, seconds: float) -> None:
        """Nobody ticks: the next event finds the time changed."""
        self.world.now += seconds

    @rule()
    def nothing_was_forgotten(self) -> None:
        """Looking again when nothing happened finds nothing to do, neither now nor before the promised wake-up."""
        self.world.say(ev.Tick())
        replica, promised = self.world.core._replica, self.world.core._wake
        if replica.changed:
            return
        wake = allocate(replica, self.world.now)
        assert replica.effects == []
        replica.changed = False
        if wake < promised:
            # A model that was too little when idle was used since: its idleness changes nothing.
            later = deepcopy(replica)
            allocate(later, wake)
            assert later.effects == []

    @rule(model=models, pick=picks)
    def illegal(self, model: ModelName, pick: int) -> None:
        world, mirror = self.world, self.world.mirror
        seen = mirror.models.get(model)
        wrong: list[ev.Event] = [
            ev.Remove(STRANGER),
            ev.EvictRequested(STRANGER),
            ev.LoadSucceeded(STRANGER),
            ev.LoadFailed(STRANGER, "no"),
            ev.Unloaded(STRANGER),
            ev.Verified(STRANGER, True),
            ev.Register(model, -1, 99),
            ev.Register(model, 1, 99, keep_alive=-1.0),
            ev.UsageSeen(model, -1, 0.0),
            ev.BudgetChanged(0),
            ev.BudgetChanged(-5),
            ev.Withhold(-1),
            ev.Measured(STRANGER, 1),
            ev.Measured(model, -1),
            ev.DiskRoomWanted(-1),
            ev.DiskRoomWanted(1, (ev.Files(-1, (model,)),)),
        ]
        if mirror.up:
            wrong.append(ev.ServerUp())
        wrong += [ev.RequestArrived(one, model, math.inf) for one in mirror.waiters]
        wrong += [ev.RequestArrived(one, model, math.inf) for one in seen.granted] if seen else []
        wrong += [
            ev.Drained(one, ticket)
            for one, ticket in world.withdrawals.items()
            if mirror.models[one].state is State.DRAINING
        ]
        if seen is not None:
            if not seen.removed:
                wrong.append(ev.Register(model, 1, seen.generation - 1))
            if seen.state in (State.LOADING, State.RELOADING):
                wrong.append(ev.LoadSucceeded(model, -1))
            else:
                wrong += [ev.LoadSucceeded(model), ev.LoadFailed(model, "no")]
            if seen.state is not State.UNLOADING:
                wrong.append(ev.Unloaded(model))
            if not seen.verifying:
                wrong.append(ev.Verified(model, bool(pick % 2)))
        world.say_illegal(wrong[pick % len(wrong)])

    @rule()
    def ignored(self) -> None:
        """Answers that crossed something change nothing."""
        self.world.say(ev.Tick())  # time has passed; what is due by now is another matter
        self.world.say(ev.Tick())
        before = snapshot(self.world.core.entries)
        assert self.world.say(ev.RequestLeft(RequestId(-1))) == []
        assert self.world.say(ev.Passed(RequestId(-1))) == []
        assert self.world.say(ev.Withdrawn(STRANGER, Ticket(1))) == []
        assert self.world.say(ev.Drained(STRANGER, Ticket(1))) == []
        assert self.world.say(ev.UsageSeen(STRANGER, 1, 0.0)) == []
        assert snapshot(self.world.core.entries) == before

    @rule()
    def cooperate(self) -> None:
        self.world.settle()

    def teardown(self) -> None:
        if hasattr(self, "world") and self.world.sound:
            self.world.settle()
            self.world.replay()


QUICK = settings(
    max_examples=400, stateful_step_count=70, deadline=None, suppress_health_check=list(HealthCheck)
)
THOROUGH = settings(QUICK, max_examples=10_000, stateful_step_count=80)


@pytest.mark.slow
def test_no_order_of_events_breaks_a_law() -> None:
    run_state_machine_as_test(Adversary, settings=QUICK)


@pytest.mark.soak
def test_no_order_of_events_breaks_a_law_thoroughly() -> None:
    run_state_machine_as_test(Adversary, settings=THOROUGH)
