"""Whose turn it is to fetch. The law: no slot is free while somebody waits; a source that waits gets one within its
patience where another has several; and nobody keeps one who brings nothing while others wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from overbook.artifacts.sources.turns import End, Rules, Turns

RULES = Rules(slowest=100.0, window=60.0, patience=15.0)
NOTHING: Mapping[str, int] = {}


def turns(slots: int, *asked: tuple[str, str]) -> Turns[str]:
    """Each of ``asked`` (who, source) has asked at 0 s, and those have begun for whom there is a slot."""
    made: Turns[str] = Turns(slots, RULES)
    for who, source in asked:
        made.ask(who, source, 0.0)
    made.begin(0.0, NOTHING)
    return made


def test_a_slot_goes_to_who_came_first() -> None:
    made = turns(2, ("a", "x"), ("b", "x"), ("c", "x"))
    assert list(made.holding) == ["a", "b"]
    made.give_back("a")
    assert made.begin(1.0, NOTHING) == ("c",)


def test_a_free_slot_goes_to_the_source_that_has_fewest() -> None:
    made = turns(3, ("a", "x"), ("b", "x"), ("c", "x"), ("d", "y"), ("e", "y"))
    assert list(made.holding) == ["a", "d", "b"]
    made.give_back("d")
    assert made.begin(1.0, NOTHING) == ("e",)
    made.give_back("a")
    assert made.begin(1.0, NOTHING) == ("c",)


def test_who_leaves_while_it_waits_gets_none() -> None:
    made = turns(1, ("a", "x"), ("b", "x"))
    made.give_back("b")
    made.give_back("a")
    assert made.begin(1.0, NOTHING) == ()


def test_who_asks_twice_is_told() -> None:
    made = turns(1, ("a", "x"), ("b", "x"))
    for who in "ab":
        with pytest.raises(ValueError, match="has asked already"):
            made.ask(who, "x", 1.0)


def test_four_that_drip_give_their_slots_to_who_waits() -> None:
    drips = [(f"drip{each}", f"host{each}") for each in range(4)]
    made = turns(4, *drips)
    assert made.end(59.0, NOTHING) == {}
    made.ask("good", "elsewhere", 59.0)
    assert made.begin(59.0, NOTHING) == ()
    came = {who: 60 for who, _ in drips}
    assert made.end(60.0, came) == {"drip0": End.SLOW}, "one is enough for one who waits"
    assert made.end(61.0, came) == {}, "and is told once"
    made.give_back("drip0")
    assert made.begin(61.0, came) == ("good",)


def test_nobody_is_too_slow_while_nobody_waits() -> None:
    made = turns(2, ("a", "x"))
    for second in range(0, 600, 10):
        assert made.end(float(second), NOTHING) == {}


def test_the_rate_is_measured_anew_in_each_window() -> None:
    made = turns(1, ("a", "x"), ("b", "y"))
    assert made.end(60.0, {"a": 6000}) == {}
    assert made.end(119.0, {"a": 6000}) == {}
    assert made.end(120.0, {"a": 11_999}) == {"a": End.SLOW}


def test_what_came_in_an_earlier_turn_does_not_count() -> None:
    made = turns(1, ("b", "y"), ("a", "x"), ("c", "y"))
    made.give_back("b")
    made.begin(0.0, {"a": 10_000})
    assert made.end(60.0, {"a": 10_001}) == {"a": End.SLOW}


def test_a_source_with_several_gives_its_newest_to_one_that_has_none() -> None:
    made = turns(3, ("a", "x"), ("b", "x"), ("c", "x"))
    made.ask("d", "y", 10.0)
    assert made.end(24.0, NOTHING) == {}
    assert made.end(25.0, NOTHING) == {"c": End.GIVES_WAY}
    assert made.end(26.0, NOTHING) == {}
    made.give_back("c")
    assert made.begin(26.0, NOTHING) == ("d",)


def test_the_last_slot_of_a_source_stays() -> None:
    made = turns(2, ("a", "x"), ("b", "y"), ("c", "z"))
    assert made.end(30.0, NOTHING) == {}


def test_more_of_the_same_source_take_nobodys_slot() -> None:
    made = turns(2, ("a", "x"), ("b", "x"), ("c", "x"))
    assert made.end(30.0, NOTHING) == {}


def test_who_has_most_gives_first() -> None:
    made = turns(5, *((f"x{each}", "x") for each in range(3)), ("y0", "y"), ("y1", "y"))
    made.ask("z", "z", 0.0)
    assert made.end(30.0, NOTHING) == {"x2": End.GIVES_WAY}
    made.ask("w", "w", 0.0)
    assert made.end(31.0, NOTHING) == {"y1": End.GIVES_WAY}


class Fetching(RuleBasedStateMachine):
    """Fetches of three sources, some of which bring nothing, in an order that Hypothesis chooses."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = 3
        self.turns: Turns[int] = Turns(self.slots, RULES)
        self.now = 0.0
        self.number = 0
        self.came: Counter[int] = Counter()
        self.to_end: set[int] = set()
        self.asked: dict[int, float] = {}

    def begin(self) -> None:
        held = Counter(self.turns.holding.values())
        for who in self.turns.begin(self.now, self.came):
            source = self.turns.holding[who]
            left = set(self.turns.waiting.values())
            assert held[source] <= min((held[each] for each in left), default=held[source])
            held[source] += 1

    @rule(source=st.sampled_from("xyz"))
    def ask(self, source: str) -> None:
        self.number += 1
        self.turns.ask(self.number, source, self.now)
        self.asked[self.number] = self.now
        self.begin()

    @precondition(lambda self: self.turns.holding)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        who = data.draw(st.sampled_from(sorted(self.turns.holding)))
        self.turns.give_back(who)
        self.to_end.discard(who)
        self.begin()

    @precondition(lambda self: self.turns.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.turns.give_back(data.draw(st.sampled_from(sorted(self.turns.waiting))))

    @rule(seconds=st.sampled_from([1.0, 16.0, 61.0]), bringing=st.booleans())
    def time_passes(self, seconds: float, bringing: bool) -> None:
        self.now += seconds
        for who in self.turns.holding:
            if bringing or who % 2:
                self.came[who] += int(seconds * 200)
        held = Counter(self.turns.holding.values())
        waiting = len(self.turns.waiting)
        ended = self.turns.end(self.now, self.came)
        assert not ended.keys() & self.to_end, "each is told once"
        assert ended.keys() <= self.turns.holding.keys()
        assert len(ended) <= waiting, "for nobody nobody has to go"
        for who, end in ended.items():
            source = self.turns.holding[who]
            assert end is End.SLOW or held[source] > 1, "a source keeps its last slot"
            held[source] -= 1
        self.to_end |= set(ended)
        self.nobody_starves_beside_who_has_several()

    def nobody_starves_beside_who_has_several(self) -> None:
        holding = self.turns.holding
        held = Counter(source for who, source in holding.items() if who not in self.to_end)
        starved = {
            source
            for who, source in self.turns.waiting.items()
            if not held[source] and self.now - self.asked[who] >= RULES.patience
        }
        assert len(self.to_end) >= len(starved) or max(held.values(), default=0) <= 1

    @precondition(lambda self: self.to_end)
    @rule()
    def give_back(self) -> None:
        for who in self.to_end:
            self.turns.give_back(who)
        self.to_end.clear()
        self.begin()

    @invariant()
    def no_slot_is_free_while_somebody_waits(self) -> None:
        assert len(self.turns.holding) <= self.slots
        assert not self.turns.waiting or len(self.turns.holding) == self.slots

    def teardown(self) -> None:
        """Whatever happened, all get their turn: good ones end, and those that bring nothing are made to."""
        for _ in range(20 * (self.number + 1)):
            self.time_passes(61.0, bringing=False)
            for who in [each for each in self.turns.holding if each % 2]:
                self.done_now(who)
            self.give_back()
            if not any(who % 2 for who in self.turns.waiting):
                break
        assert not any(who % 2 for who in self.turns.waiting), "a good one waits for ever"

    def done_now(self, who: int) -> None:
        self.turns.give_back(who)
        self.to_end.discard(who)
        self.begin()


TestFetching = Fetching.TestCase
TestFetching.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
