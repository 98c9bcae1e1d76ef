"""Laws of models that call others, whatever happens in whatever order; and that nobody waits for ever."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from overbook.residency import events as ev
from overbook.residency.effects import Refusal
from overbook.residency.events import ModelName
from tests.unit.residency.calling import NAMES, Calling, below


class Together(RuleBasedStateMachine):
    """See `Calling`."""

    names = st.sampled_from(NAMES)
    picks = st.integers(0, 100)

    @initialize(
        budget=st.integers(4, 9),
        sizes=st.tuples(*[st.integers(0, 3)] * len(NAMES)),
        patience=st.sampled_from([0.5, 2.0]),
    )
    def begin(self, budget: int, sizes: tuple[int, ...], patience: float) -> None:
        self.here = Calling(budget, sizes, patience)

    @rule(model=names, deadline=st.sampled_from([1.0, 60.0]), suspect=st.booleans())
    def ask(self, model: ModelName, deadline: float, suspect: bool) -> None:
        self.here.ask(model, deadline=deadline, suspect=suspect)

    @rule(pick=picks)
    def is_passed(self, pick: int) -> None:
        if self.here.granted:
            granted = sorted(self.here.granted)
            self.here.pass_on(granted[pick % len(granted)])

    @rule(model=names, in_flight=st.integers(0, 2))
    def usage(self, model: ModelName, in_flight: int) -> None:
        self.here.say(ev.UsageSeen(model, in_flight, self.here.now))

    @rule(pick=picks, fail=st.booleans())
    def work_ends(self, pick: int, fail: bool) -> None:
        busy = sorted(model for model, calls in self.here.calls.items() if calls)
        if busy:
            self.here.end_work(busy[pick % len(busy)], fail=fail)

    @rule(pick=picks)
    def gateways_withdraw(self, pick: int) -> None:
        asked = sorted(self.here.withdrawals)
        if asked:
            self.here.withdrawn(asked[pick % len(asked)])

    @rule(pick=picks)
    def is_drained(self, pick: int) -> None:
        asked = sorted(self.here.settling)
        if asked:
            self.here.drained(asked[pick % len(asked)])

    @rule(model=names)
    def evict(self, model: ModelName) -> None:
        if self.here.entry(model) is not None:
            self.here.say(ev.EvictRequested(model))

    @rule(model=names)
    def remove(self, model: ModelName) -> None:
        entry = self.here.entry(model)
        if entry is not None and not entry.removed:
            self.here.say(ev.Remove(model))

    @rule(model=names, more=st.integers(0, 1))
    def apply(self, model: ModelName, more: int) -> None:
        self.here.generation[model] += more
        self.here.register(model)

    @rule(
        missing=st.integers(0, 4), held=st.sets(names, max_size=6), ago=st.sampled_from([0.0, 99.0])
    )
    def disk_room_wanted(self, missing: int, held: set[ModelName], ago: float) -> None:
        files = tuple(ev.Files(1, (each,)) for each in sorted(held))
        self.here.say(ev.DiskRoomWanted(missing, files, self.here.now - ago))

    @rule(seconds=st.sampled_from([0.05, 1.0, 3.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.here.tick(seconds)

    @rule()
    def server_dies(self) -> None:
        self.here.restart()

    @invariant()
    def laws_hold(self) -> None:
        if hasattr(self, "here"):
            self.here.check()

    def teardown(self) -> None:
        """Whoever asks in the end is answered by yes where it fits with all that it calls, else by no."""
        if not hasattr(self, "here"):
            return
        here = self.here
        for name in NAMES:
            here.rest()
            here.generation[name] += 1
            here.register(name)
        for _ in range(3):
            here.rest()
            here.tick(1000.0)
        for name in (*NAMES, *reversed(NAMES)):
            here.rest()
            request = here.ask(name)
            here.rest()
            needed = sum(here.sizes[each] for each in {name} | below(name))
            if needed <= here.budget:
                assert request not in here.waiting, f"{name} waits for ever"
                assert request not in here.refused, f"{name}: {here.refused[request]}"
            else:
                refusal, _ = here.refused[request]
                assert refusal is Refusal.NO_ROOM, f"{name} can never be loaded"


TestTogether = Together.TestCase
TestTogether.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
