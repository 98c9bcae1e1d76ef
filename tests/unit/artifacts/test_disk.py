"""Whose files leave: those whose return costs least for what they free, no more than needed, and nobody's in vain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from overbook.artifacts.disk import Hold, Kept, Leaving, held_by, leaving

NOW = 1000.0


def kept(
    digest: str, size: int, hold: Hold = Hold.NONE, *, used: float = 0.0, seconds: float = 1.0
) -> Kept:
    return Kept(digest, size, hold, used, seconds)


def test_where_there_is_room_nothing_leaves() -> None:
    found = leaving([kept("a", 40), kept("b", 30, Hold.FIRM)], budget=100, needed=30, now=NOW)
    assert found == Leaving(firm=30, lasting=30)


def test_who_was_not_asked_for_longest_leaves() -> None:
    every = [kept("new", 50, used=990.0), kept("old", 50, used=10.0)]
    assert leaving(every, budget=100, needed=1, now=NOW) == Leaving(("old",))


def test_what_comes_back_sooner_leaves() -> None:
    every = [kept("slow", 50, seconds=100.0), kept("quick", 50, seconds=2.0)]
    assert leaving(every, budget=100, needed=1, now=NOW).digests == ("quick",)


def test_an_unknown_time_is_reckoned_from_bytes() -> None:
    """At 50 MB a second: 100 MB take two seconds."""
    size = 100_000_000
    slower = Kept("slower", size, Hold.NONE, 0.0, 2.1)
    quicker = Kept("quicker", size, Hold.NONE, 0.0, 1.9)
    unknown = Kept("unknown", size, Hold.NONE, 0.0)
    assert leaving([slower, unknown], budget=2 * size, needed=1, now=NOW).digests == ("unknown",)
    assert leaving([quicker, unknown], budget=2 * size, needed=1, now=NOW).digests == ("quicker",)


def test_what_is_held_stays_and_is_told_apart() -> None:
    every = [kept("firm", 40, Hold.FIRM), kept("brief", 40, Hold.BRIEFLY), kept("free", 10)]
    assert leaving(every, budget=100, needed=30, now=NOW) == Leaving(
        missing=10, firm=40, lasting=40
    )
    assert leaving(every, budget=100, needed=20, now=NOW) == Leaving(("free",), firm=40, lasting=40)


def test_what_models_could_give_up_by_leaving_memory_is_told_apart() -> None:
    idle = kept("idle", 30, Hold.FIRM)._replace(in_memory={"agent": {"iris"}})
    every = [kept("pinned", 40, Hold.FIRM), idle]
    found = leaving(every, budget=100, needed=50, now=NOW)
    assert found == Leaving(missing=20, firm=70, lasting=40)


def test_the_last_to_be_chosen_saves_others_the_dearest_first() -> None:
    """Two small ones and a large one are chosen, of which the large one alone would have been enough."""
    every = [
        kept("cheap", 10, used=0.0),
        kept("dear", 10, used=100.0),
        kept("large", 100, used=990.0, seconds=100.0),
    ]
    assert leaving(every, budget=120, needed=100, now=NOW).digests == ("large",)
    assert leaving(every, budget=120, needed=105, now=NOW).digests == ("cheap", "large")


def test_what_is_left_of_broken_fetches_goes_first() -> None:
    half = Kept("half", 50, Hold.NONE, 0.0, 1e9, half=True)
    every = [kept("old", 50), half]
    assert leaving(every, budget=100, needed=50, now=NOW).digests == ("half",)


def test_empty_contents_and_clocks_that_go_back_are_harmless() -> None:
    every = [kept("empty", 0), kept("ahead", 50, used=NOW + 50), kept("now", 50, used=NOW)]
    assert set(leaving(every, budget=100, needed=100, now=NOW).digests) == {"ahead", "now"}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 100),
            st.sampled_from(Hold),
            st.floats(0, 2000),
            st.none() | st.floats(0, 1000),
            st.booleans(),
        ),
        max_size=12,
    ),
    st.integers(0, 500),
    st.integers(0, 500),
)
def test_laws(
    drawn: list[tuple[int, Hold, float, float | None, bool]], budget: int, needed: int
) -> None:
    """Nothing held leaves; the budget is kept or nothing leaves; and nobody leaves in vain."""
    every = {f"{number}": Kept(f"{number}", *rest) for number, rest in enumerate(drawn)}
    found = leaving(every.values(), budget=budget, needed=needed, now=NOW)
    chosen = [every[digest] for digest in found.digests]
    assert len(set(found.digests)) == len(found.digests)
    assert all(each.hold is Hold.NONE for each in chosen)
    assert found.firm == sum(each.bytes for each in every.values() if each.hold is Hold.FIRM)
    over = sum(each.bytes for each in every.values()) + needed - budget
    free = sum(each.bytes for each in every.values() if each.hold is Hold.NONE)
    assert found.missing == max(0, over - free)
    if found.missing:
        assert not chosen
        return
    freed = sum(each.bytes for each in chosen)
    assert freed >= over
    assert all(freed - each.bytes < over for each in chosen)
    halves = sum(each.bytes for each in every.values() if each.half and each.hold is Hold.NONE)
    assert halves < over or all(each.half for each in chosen)


def test_who_keeps_their_files_is_named() -> None:
    many = [
        Kept(f"d{each}", 1024 * each, Hold.FIRM, 0.0, models=frozenset({f"m{each}"}))
        for each in range(1, 8)
    ]
    many += [Kept("cold", 1 << 20, Hold.NONE, 0.0), Kept("away", 1 << 30, Hold.FIRM, 0.0)]
    assert held_by(many) == (
        "a model of an agent that is away 1GiB, m7 7KiB, m6 6KiB, m5 5KiB, m4 4KiB and 3 more"
    )
    assert held_by([]) == ""
