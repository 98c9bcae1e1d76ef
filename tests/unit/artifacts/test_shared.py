"""Work that several want is done once, and ends when nobody wants it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from overbook.artifacts.shared import SharedWork
from tests.unit.agent.virtual_time import in_virtual_time, settle


class Work:
    """Takes ``seconds``, and ``clearing`` more when it is cancelled; ``running`` is never more than one."""

    def __init__(self, seconds: float = 10.0, clearing: float = 0.0) -> None:
        self.seconds = seconds
        self.clearing = clearing
        self.begun = self.ended = self.running = 0
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.begun += 1
        self.running += 1
        number = self.begun
        assert self.running == 1
        try:
            await asyncio.sleep(self.seconds)
            if self.error is not None:
                raise self.error
        except asyncio.CancelledError:
            await asyncio.sleep(self.clearing)
            raise
        finally:
            self.running -= 1
            self.ended += 1
        return number


def begun(
    shared: SharedWork[str, int], begin: Callable[[], Awaitable[int]], key: str = "k"
) -> asyncio.Task[int]:
    return asyncio.create_task(shared.join(key, begin))


@in_virtual_time
async def test_all_get_the_one_result() -> None:
    shared, work = SharedWork[str, int]("work"), Work()
    first = begun(shared, work)
    await asyncio.sleep(5)
    assert "k" in shared
    both = await asyncio.gather(first, begun(shared, work))
    assert list(both) == [1, 1]
    assert "k" not in shared
    assert await shared.join("k", work) == 2


@in_virtual_time
async def test_all_get_the_one_error_and_the_next_begins_anew() -> None:
    shared, work = SharedWork[str, int]("work"), Work()
    work.error = ValueError("broken")
    both = [begun(shared, work), begun(shared, work)]
    results = await asyncio.gather(*both, return_exceptions=True)
    assert [str(each) for each in results] == ["broken", "broken"]
    work.error = None
    assert await shared.join("k", work) == 2


@in_virtual_time
async def test_it_goes_on_for_whoever_is_left() -> None:
    shared, work = SharedWork[str, int]("work"), Work()
    first, second = begun(shared, work), begun(shared, work)
    await asyncio.sleep(1)
    first.cancel()
    assert await second == 1
    assert first.cancelled()


@in_virtual_time
async def test_it_ends_with_the_last_who_leaves_and_is_over_by_then() -> None:
    shared, work = SharedWork[str, int]("work"), Work(clearing=3.0)
    both = [begun(shared, work), begun(shared, work)]
    await asyncio.sleep(1)
    for each in both:
        each.cancel()
    await asyncio.wait(both)
    assert (work.begun, work.ended) == (1, 1)
    assert "k" not in shared


@in_virtual_time
async def test_who_comes_while_it_is_being_cancelled_waits_for_that() -> None:
    shared, work = SharedWork[str, int]("work"), Work(clearing=3.0)
    left = begun(shared, work)
    await asyncio.sleep(1)
    left.cancel()
    await settle()
    assert await shared.join("k", work) == 2  # `Work` itself refuses two at a time


@in_virtual_time
async def test_work_in_one_lane_takes_turns() -> None:
    shared, work = SharedWork[str, int]("work"), Work()
    together = (shared.join(key, work, lane="lane") for key in "abc")
    assert await asyncio.gather(*together) == [1, 2, 3]


@in_virtual_time
async def test_who_leaves_the_lane_is_not_waited_for() -> None:
    shared, work = SharedWork[str, int]("work"), Work()
    first = asyncio.create_task(shared.join("a", work, lane="lane"))
    left = asyncio.create_task(shared.join("b", work, lane="lane"))
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()
    left.cancel()
    await asyncio.wait({left})
    assert asyncio.get_running_loop().time() == began
    assert await first == 1
    assert work.begun == 1


@in_virtual_time
async def test_other_keys_run_beside_it() -> None:
    shared = SharedWork[str, int]("work")
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(shared.join(key, Work()) for key in "abc"))
    assert asyncio.get_running_loop().time() == began + 10


@in_virtual_time
async def test_leaving_at_the_moment_of_the_end_loses_nothing() -> None:
    shared, work = SharedWork[str, int]("work"), Work(seconds=10.0)
    leaves, stays = begun(shared, work), begun(shared, work)
    asyncio.get_running_loop().call_later(10.0, leaves.cancel)
    assert await stays == 1
    await asyncio.wait({leaves})
    assert (work.begun, work.ended) == (1, 1)
    alone = begun(shared, work)
    asyncio.get_running_loop().call_later(10.0, alone.cancel)
    await asyncio.wait({alone})
    assert "k" not in shared
    assert await shared.join("k", work) == 3


@in_virtual_time
async def test_an_error_that_nobody_is_left_to_hear_is_no_warning() -> None:
    shared, work = SharedWork[str, int]("work"), Work(seconds=0.0)
    work.error = ValueError("broken")
    alone = begun(shared, work)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    alone.cancel()
    with pytest.raises((asyncio.CancelledError, ValueError)):
        await alone
