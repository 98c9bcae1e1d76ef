"""Room on the disk: made, waited for with an end, and refused in numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from overbook.artifacts.disk import Hold, Kept
from overbook.artifacts.errors import NoRoomYet, SourceError, Trouble
from overbook.artifacts.relief import Relieved
from overbook.artifacts.space import NOT_URGENT, PATIENCE, Beside, Disk, DiskShare, Space, Urgency
from tests.unit.agent.virtual_time import in_virtual_time, settle


class Contents:
    """What is on the disk, by name."""

    def __init__(self, **kept: tuple[int, Hold]) -> None:
        self.kept = {name: Kept(name, size, hold, 0.0) for name, (size, hold) in kept.items()}
        self.doomed: list[str] = []
        self.discarding = 0.0
        self.fails: OSError | None = None
        self.looks = 0
        # What models were asked to leave for, None: for nothing any more; which of them could, and which do.
        self.asked: list[tuple[int, str] | None] = []
        self.idle: set[str] = set()
        self.leaving: set[str] = set()
        self.disk = Disk(
            look=self.look,
            used=self.used,
            kept=self.all,
            doom=self.doomed.extend,
            discard=self.discard,
            relieve=self.relieve,
            relieved=lambda: self.asked.append(None),
        )
        self.space = Space(100, self.disk, now=lambda: 1000.0)

    def relieve(self, kept: Sequence[Kept], missing: int, agent: str, since: float) -> Relieved:
        """As many leave as suffice, or none."""
        self.asked.append((missing, agent))
        idle = [each for each in kept if each.in_memory and each.digest in self.idle]
        chosen: list[Kept] = []
        for each in idle:
            if sum(one.bytes for one in chosen) < missing:
                chosen.append(each)
        much = sum(each.bytes for each in chosen)
        self.leaving = {each.digest for each in chosen} if much >= missing else set()
        return Relieved(much if self.leaving else 0, frozenset(self.leaving))

    def load(self, name: str, size: int, *, idle: bool = True) -> None:
        """Its model is in memory."""
        models = {"agent": frozenset({name})}
        self.kept[name] = Kept(name, size, Hold.FIRM, 0.0, in_memory=models)
        if idle:
            self.idle.add(name)

    def models_left(self) -> None:
        for each in self.leaving:
            self.kept[each] = self.kept[each]._replace(hold=Hold.NONE, in_memory={})
        self.leaving = set()
        self.space.changed()

    async def look(self) -> None:
        self.looks += 1
        await asyncio.sleep(0)

    def used(self) -> int:
        return sum(each.bytes for each in self.kept.values())

    def all(self) -> list[Kept]:
        return list(self.kept.values())

    async def discard(self, names: tuple[str, ...]) -> None:
        await asyncio.sleep(self.discarding)
        if self.fails is not None:
            raise self.fails
        for each in names:
            del self.kept[each]

    def hold(self, name: str, hold: Hold) -> None:
        self.kept[name] = self.kept[name]._replace(hold=hold)
        self.space.changed()


URGENT = Urgency("agent", lambda: True)


async def taken(
    space: Space, needed: int, seconds: float = 0.0, urgency: Urgency = NOT_URGENT
) -> None:
    async with space.room(needed, "model", urgency):
        await asyncio.sleep(seconds)


@in_virtual_time
async def test_room_that_is_there_is_given_and_given_back() -> None:
    made = Contents(a=(40, Hold.NONE))
    async with made.space.room(60, "model"):
        assert made.space.usage().coming == 60
    assert made.space.usage().coming == 0
    assert made.doomed == []


@in_virtual_time
async def test_others_leave_for_it_before_the_block_begins() -> None:
    made = Contents(a=(40, Hold.NONE), b=(40, Hold.FIRM))
    made.discarding = 2.0
    async with made.space.room(60, "model"):
        assert set(made.kept) == {"b"}
        usage = made.space.usage()
        assert (usage.used, usage.coming, usage.firm, usage.budget) == (40, 60, 40, 100)


@in_virtual_time
async def test_what_can_never_be_is_refused_for_good() -> None:
    with pytest.raises(SourceError, match="more than the whole cache may") as raised:
        await taken(Contents().space, 101)
    assert raised.value.trouble is Trouble.REFUSED
    assert str(raised.value).endswith("; start with a larger --cache-size")


@in_virtual_time
async def test_what_is_in_memory_or_pinned_is_told_at_once() -> None:
    made = Contents(a=(60, Hold.FIRM))
    began = asyncio.get_running_loop().time()
    made.kept["a"] = made.kept["a"]._replace(models=frozenset({"iris", "big (pinned)"}))
    with pytest.raises(SourceError) as raised:
        await taken(made.space, 50)
    assert raised.value.trouble is Trouble.NO_SPACE
    assert str(raised.value) == (
        "no room on disk for model: it takes 50 bytes, the cache may take 100 bytes (--cache-size), and 60 bytes are "
        "of models in memory or pinned, which keep their files: big (pinned) and iris 60B; start with a larger "
        "--cache-size, or evict or unpin some of these (overbook evict NAME, overbook unpin NAME)"
    )
    assert asyncio.get_running_loop().time() == began


@in_virtual_time
async def test_a_shortage_that_ends_is_waited_for() -> None:
    made = Contents(a=(60, Hold.BRIEFLY))
    waiting = asyncio.create_task(taken(made.space, 50))
    await asyncio.sleep(5)
    assert not waiting.done()
    made.hold("a", Hold.NONE)
    await waiting
    assert made.doomed == ["a"]


@in_virtual_time
async def test_an_end_that_nobody_tells_of_is_seen_all_the_same() -> None:
    made = Contents(a=(60, Hold.BRIEFLY))
    waiting = asyncio.create_task(taken(made.space, 50))
    await asyncio.sleep(5)
    made.kept["a"] = made.kept["a"]._replace(hold=Hold.NONE)
    began = asyncio.get_running_loop().time()
    await waiting
    assert asyncio.get_running_loop().time() - began <= 0.5


@in_virtual_time
async def test_a_shortage_that_does_not_end_is_told_in_time_to_all_who_wait() -> None:
    made = Contents(a=(60, Hold.BRIEFLY))
    began = asyncio.get_running_loop().time()
    found = await asyncio.gather(
        *(taken(made.space, 50) for _ in range(20)), return_exceptions=True
    )
    assert asyncio.get_running_loop().time() - began == PATIENCE
    for each in found:
        assert isinstance(each, SourceError)
        assert each.trouble is Trouble.NO_SPACE
        assert each.passing
    assert made.space.usage().coming == 0


@in_virtual_time
async def test_many_who_wait_get_it_one_after_the_other() -> None:
    made = Contents()
    await asyncio.gather(*(taken(made.space, 60, seconds=1.0) for _ in range(10)))
    assert made.space.usage().coming == 0


@in_virtual_time
async def test_a_small_one_need_not_wait_for_a_large_one() -> None:
    made = Contents(a=(60, Hold.BRIEFLY))
    large = asyncio.create_task(taken(made.space, 50))
    await asyncio.sleep(1)
    await taken(made.space, 40)
    large.cancel()
    await asyncio.wait({large})
    assert made.space.usage().coming == 0


@in_virtual_time
async def test_what_is_there_beside_it_counts_for_whether_there_can_ever_be_room() -> None:
    """An archive stays until it is unpacked: nobody waits for what cannot come, and nobody leaves for it."""
    made = Contents(archive=(40, Hold.BRIEFLY), cold=(20, Hold.NONE))
    with pytest.raises(
        SourceError, match="takes 61 bytes beside 40 bytes that it is made of"
    ) as raised:
        async with made.space.room(61, "model", beside=Beside("archive", 40)):
            pass
    assert raised.value.trouble is Trouble.REFUSED
    made.hold("cold", Hold.FIRM)
    began = asyncio.get_running_loop().time()
    with pytest.raises(SourceError, match="no room on disk for model") as raised:
        async with made.space.room(41, "model", beside=Beside("archive", 40)):
            pass
    assert raised.value.trouble is Trouble.NO_SPACE
    assert asyncio.get_running_loop().time() == began
    assert made.doomed == []
    async with made.space.room(40, "model", beside=Beside("archive", 40)):
        pass


@in_virtual_time
async def test_who_waits_with_something_beside_it_loses_that_to_others_and_not_to_itself() -> None:
    """Or two of these would wait for each other."""
    made = Contents(one=(40, Hold.NONE), two=(40, Hold.BRIEFLY))

    async def unpacking(key: str) -> None:
        async with made.space.room(40, key, beside=Beside(key, 40)):
            await asyncio.sleep(1)

    first = asyncio.create_task(unpacking("one"))
    await asyncio.sleep(1)
    assert not first.done()
    assert made.doomed == []
    made.hold("two", Hold.NONE)
    await first
    assert made.doomed == ["two"]


@in_virtual_time
async def test_models_leave_memory_for_what_has_something_beside_it() -> None:
    made = Contents(archive=(40, Hold.BRIEFLY))
    made.load("a", 60)

    async def unpacking() -> None:
        async with made.space.room(40, "model", URGENT, beside=Beside("archive", 40)):
            pass

    waiting = asyncio.create_task(unpacking())
    await asyncio.sleep(1)
    made.models_left()
    await waiting
    assert made.doomed == ["a"]


@in_virtual_time
async def test_a_disk_that_others_fill_is_no_refusal_for_good() -> None:
    made = Contents()
    made.space = Space(DiskShare(0.5, lambda: 20, lambda: 200), made.disk, now=lambda: 1000.0)
    assert (made.space.budget, made.space.ever) == (10, 100)
    with pytest.raises(SourceError, match="no disk space for model") as raised:
        await taken(made.space, 100)
    assert raised.value.passing
    with pytest.raises(SourceError, match="more than the whole cache may ever") as raised:
        await taken(made.space, 101)
    assert raised.value.trouble is Trouble.REFUSED
    # Nobody gave a budget that could be larger: it is the disk that is too small.
    assert str(raised.value).endswith(
        "use a --state-dir on a larger disk, or let it have more of this one with --cache-size"
    )


@in_virtual_time
async def test_leaving_that_fails_takes_no_room() -> None:
    made = Contents(a=(60, Hold.NONE))
    made.fails = OSError("input/output error")
    with pytest.raises(OSError, match="input/output"):
        await taken(made.space, 50)
    assert made.space.usage().coming == 0


@in_virtual_time
async def test_cancelling_while_others_leave_takes_no_room() -> None:
    made = Contents(a=(60, Hold.NONE))
    made.discarding = 10.0
    waiting = asyncio.create_task(taken(made.space, 50))
    await asyncio.sleep(1)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert made.space.usage().coming == 0


@in_virtual_time
async def test_what_is_over_a_smaller_budget_leaves_as_far_as_it_may() -> None:
    made = Contents(a=(90, Hold.FIRM), b=(30, Hold.NONE), c=(30, Hold.BRIEFLY))
    await made.space.trim()
    assert set(made.kept) == {"a", "c"}
    made.hold("c", Hold.NONE)
    made.hold("a", Hold.NONE)
    await made.space.trim()
    assert set(made.kept) in ({"a"}, {"c"})
    await settle()
    await made.space.trim()
    assert len(made.kept) == 1


@in_virtual_time
async def test_nobody_looks_at_the_disk_while_there_is_room_by_what_is_known() -> None:
    made = Contents(a=(40, Hold.NONE))
    async with made.space.room(60, "model"):
        assert made.looks == 0
    await taken(made.space, 61)
    assert made.looks == 1
    assert made.doomed == ["a"]


@in_virtual_time
async def test_models_leave_memory_for_what_is_urgent_and_what_comes_back_is_waited_for() -> None:
    made = Contents()
    made.load("a", 60)
    made.load("b", 40)
    waiting = asyncio.create_task(taken(made.space, 50, 1.0, URGENT))
    await asyncio.sleep(0.1)
    assert made.asked == [(50, "agent")]
    assert made.space.promised == {"a"}
    made.models_left()
    await settle()
    assert made.doomed == ["a"]
    assert made.asked[-1] is None
    assert made.space.promised == frozenset()
    assert made.space.usage().coming == 50
    await waiting


@in_virtual_time
async def test_nobody_leaves_memory_for_what_is_not_urgent() -> None:
    made = Contents()
    made.load("a", 60)
    with pytest.raises(SourceError, match="no room on disk") as raised:
        await taken(made.space, 50)
    assert raised.value.trouble is Trouble.NO_SPACE
    assert made.asked == []


@in_virtual_time
async def test_what_no_model_can_make_room_for_is_told_at_once() -> None:
    made = Contents(pinned=(60, Hold.FIRM))
    made.load("a", 20)
    with pytest.raises(SourceError, match="80 bytes are of models in memory or pinned"):
        await taken(made.space, 50, urgency=URGENT)
    assert made.asked == []


@in_virtual_time
async def test_what_is_not_urgent_any_more_asks_nobody_any_more() -> None:
    """Here it goes on waiting, for what others read."""
    made = Contents(read=(60, Hold.BRIEFLY))
    made.load("a", 40)
    urgent = True
    wish = taken(made.space, 50, urgency=Urgency("agent", lambda: urgent))
    waiting = asyncio.create_task(wish)
    await asyncio.sleep(1)
    assert made.asked[-1] == (50, "agent")
    urgent = False
    await asyncio.sleep(1)
    assert made.asked[-1] is None
    made.hold("read", Hold.NONE)
    await waiting
    assert made.doomed == ["read"]


@in_virtual_time
async def test_what_models_leave_for_is_not_taken_by_who_comes_later() -> None:
    made = Contents()
    made.load("a", 60)
    made.load("b", 40)
    first = asyncio.create_task(taken(made.space, 50, 1.0, URGENT))
    await asyncio.sleep(0.1)
    later = asyncio.create_task(taken(made.space, 10, 1.0, URGENT))
    await asyncio.sleep(0.1)
    made.models_left()
    await settle()
    assert made.space.usage().coming == 60, "there is room for both now"
    await asyncio.gather(first, later)


@in_virtual_time
async def test_who_comes_later_waits_behind_the_one_that_models_leave_for() -> None:
    made = Contents()
    made.load("a", 50)
    made.load("b", 50)
    first = asyncio.create_task(taken(made.space, 50, 1.0, URGENT))
    await asyncio.sleep(0.1)
    later = asyncio.create_task(taken(made.space, 50, 1.0, URGENT))
    await asyncio.sleep(0.1)
    made.models_left()
    await settle()
    assert made.doomed == ["a"]
    await asyncio.sleep(0.1)
    assert made.leaving == {"b"}
    assert not first.done()
    made.models_left()
    await asyncio.gather(first, later)
    assert made.doomed == ["a", "b"]


@in_virtual_time
async def test_what_is_free_already_goes_with_what_models_leave_for() -> None:
    made = Contents(free=(20, Hold.NONE))
    made.load("a", 80)
    waiting = asyncio.create_task(taken(made.space, 90, urgency=URGENT))
    await asyncio.sleep(0.1)
    assert made.space.promised == {"a", "free"}
    made.models_left()
    await waiting
    assert sorted(made.doomed) == ["a", "free"]


@in_virtual_time
async def test_who_waits_in_vain_for_models_in_use_is_told_and_asks_no_more() -> None:
    made = Contents(free=(20, Hold.NONE))
    made.load("a", 80, idle=False)
    began = asyncio.get_running_loop().time()
    with pytest.raises(NoRoomYet, match="80 bytes by models in memory or pinned"):
        await taken(made.space, 50, urgency=URGENT)
    assert asyncio.get_running_loop().time() - began == PATIENCE
    assert made.asked[-1] is None
    assert made.space.promised == frozenset()
    assert made.doomed == []


@in_virtual_time
async def test_cancelling_asks_nobody_any_more() -> None:
    made = Contents()
    made.load("a", 80)
    waiting = asyncio.create_task(taken(made.space, 50, urgency=URGENT))
    await asyncio.sleep(1)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert made.asked[-1] is None
    assert made.space.promised == frozenset()


@in_virtual_time
async def test_what_is_urgent_does_not_wait_behind_what_is_not() -> None:
    """The first waits for files that somebody reads, for long."""
    made = Contents(read=(60, Hold.BRIEFLY))
    made.load("a", 40)
    first = asyncio.create_task(taken(made.space, 50))
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    urgent = asyncio.create_task(taken(made.space, 40, urgency=URGENT))
    await asyncio.sleep(0.1)
    made.models_left()
    await urgent
    assert asyncio.get_running_loop().time() - began < 0.5
    assert made.doomed == ["a"]
    first.cancel()
    await asyncio.wait({first})


@in_virtual_time
async def test_what_becomes_urgent_while_it_waits_has_models_leave_from_then_on() -> None:
    made = Contents(read=(60, Hold.BRIEFLY))
    made.load("a", 40)
    urgent = False
    wish = taken(made.space, 40, urgency=Urgency("agent", lambda: urgent))
    waiting = asyncio.create_task(wish)
    await asyncio.sleep(2)
    assert made.asked == []
    urgent = True
    await asyncio.sleep(1)
    assert made.asked[0] == (40, "agent")
    made.models_left()
    await waiting
    assert made.doomed == ["a"]
