"""What agents do with contents, put together."""

from __future__ import annotations

from overbook.artifacts.disk import Hold
from overbook.artifacts.index import Content
from overbook.artifacts.kept import Holders, Use

IN_MEMORY = Use(Hold.FIRM, 5.0, frozenset({"iris"}), frozenset({"iris"}))
PINNED = Use(Hold.FIRM, 5.0, frozenset({"big (pinned)"}))
AWAITED = Use(Hold.BRIEFLY, 5.0)


def held(
    *uses: Use, busy: bool = False, absent: bool = False, promised: bool = False
) -> tuple[Hold, dict[str, frozenset[str]]]:
    """How firmly, and by which models in memory. The agents are called 0, 1 and so on."""
    holders = Holders(
        uses={str(number): {"d": each} for number, each in enumerate(uses)} | {"none": {}},
        busy={"d"} if busy else set(),
        absent={"d"} if absent else set(),
        promised={"d"} if promised else set(),
    )
    [kept] = holders.kept([Content("d", 7, last_used=3.0)])
    assert (kept.digest, kept.bytes) == ("d", 7)
    assert kept.last_used == (5.0 if uses else 3.0)
    assert kept.models == frozenset().union(*(each.models for each in uses))
    return kept.hold, {name: frozenset(models) for name, models in kept.in_memory.items()}


def test_what_nobody_uses_is_free_unless_somebody_reads_it() -> None:
    assert held() == (Hold.NONE, {})
    assert held(busy=True) == (Hold.BRIEFLY, {})
    assert held(AWAITED) == (Hold.BRIEFLY, {})


def test_models_in_memory_are_told_by_agent() -> None:
    assert held(IN_MEMORY, AWAITED, IN_MEMORY) == (
        Hold.FIRM,
        {"0": frozenset({"iris"}), "2": frozenset({"iris"})},
    )


def test_where_a_pin_holds_it_too_nobody_need_leave_memory() -> None:
    assert held(IN_MEMORY, PINNED) == (Hold.FIRM, {})


def test_of_an_agent_that_is_away_nobody_knows() -> None:
    assert held(IN_MEMORY, absent=True) == (Hold.FIRM, {})


def test_what_is_promised_to_another_is_not_held_for_who_waits_for_it_now() -> None:
    assert held(AWAITED, promised=True) == (Hold.NONE, {})
    assert held(AWAITED, promised=True, busy=True) == (Hold.BRIEFLY, {})
    assert held(IN_MEMORY, promised=True)[0] is Hold.FIRM
