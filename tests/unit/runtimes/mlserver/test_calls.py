"""The memory that says which models' code a process is in: written there, read by the agent."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from overbook.agent.deaths import Activity, Call, CallKind, Calls
from overbook.agent.servers.mlserver import calls as mlserver_calls
from tests.unit.runtimes.plugins import plugin_module

calls = plugin_module("mlserver", "overbook_mlserver/calls.py")


def memory(folder: Path) -> int:
    """A descriptor of what stands for the agent's memory."""
    descriptor = os.open(folder / "calls", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(descriptor, 0, mlserver_calls.BYTES)
    return descriptor


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = calls.Calls(memory(tmp_path))
    monkeypatch.setattr(calls, "_calls", made)
    return made


def seen(folder: Path) -> Calls:
    found = mlserver_calls.read((folder / "calls").read_bytes())
    assert found is not None
    return found


def test_both_sides_mean_the_same() -> None:
    assert (mlserver_calls.BYTES, mlserver_calls._MAGIC) == (calls.BYTES, calls.MAGIC)
    assert mlserver_calls._PLACE_BYTES == calls.PLACE_BYTES
    assert (mlserver_calls._ENDING_AT, mlserver_calls._BEAT_AT) == (calls.ENDING_AT, calls.BEAT_AT)


async def test_a_call_is_on_the_loop_only_while_its_code_runs(kept: Any, tmp_path: Path) -> None:
    go = asyncio.Event()
    during: list[Calls] = []

    async def work() -> int:
        during.append(seen(tmp_path))
        await go.wait()
        during.append(seen(tmp_path))
        return 7

    task = asyncio.create_task(kept.during(calls.REQUEST, "a", work()))
    await asyncio.sleep(0)
    waiting = seen(tmp_path)
    assert waiting.open == (Call("a", CallKind.REQUEST, Activity.WAITING),)
    go.set()
    assert await task == 7
    running = (Call("a", CallKind.REQUEST, Activity.ON_LOOP),)
    assert [each.open for each in during] == [running, running]
    assert during[0].beat != during[1].beat
    assert seen(tmp_path).open == ()


async def test_of_many_calls_the_one_that_runs_is_known(kept: Any, tmp_path: Path) -> None:
    found: list[Calls] = []

    async def work(name: str) -> None:
        await asyncio.sleep(0)
        if name == "m0":
            found.append(seen(tmp_path))

    names = [f"m{number}" for number in range(400)]
    await asyncio.gather(*(kept.during(calls.REQUEST, name, work(name)) for name in names))
    assert found[0].suspects == {("m0", CallKind.REQUEST)}
    assert len(found[0].open) == calls.PLACES, "more are not recorded"
    assert seen(tmp_path).open == ()


async def test_errors_and_cancels_go_through_and_leave_nothing(kept: Any, tmp_path: Path) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("no")

    with pytest.raises(KeyError):
        await kept.during(calls.LOAD, "a", fails())
    said: list[str] = []

    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            said.append("cancelled")
            raise
        return ""

    task = asyncio.create_task(kept.during(calls.LOAD, "a", stubborn()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert said == ["cancelled"]
    assert seen(tmp_path).open == ()


async def test_who_wants_to_end_the_process_ends_its_call(kept: Any, tmp_path: Path) -> None:
    async def leaves() -> None:
        raise SystemExit(3)

    with pytest.raises(calls.Escaped, match=r"SystemExit\(3\)"):
        await kept.during(calls.REQUEST, "a", leaves())
    assert seen(tmp_path).open == ()


async def test_on_another_loop_it_is_in_its_thread_only_while_its_code_runs(
    kept: Any, tmp_path: Path
) -> None:
    found: list[Calls] = []
    at_rest, go = threading.Event(), threading.Event()

    async def load() -> None:
        found.append(seen(tmp_path))
        resting = asyncio.get_running_loop().run_in_executor(None, go.wait)
        at_rest.set()
        await resting

    async def work() -> None:
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: context.run(asyncio.run, calls.beside(load())))
        thread.start()
        await asyncio.to_thread(at_rest.wait)
        await asyncio.sleep(0.05)
        found.append(seen(tmp_path))
        go.set()
        await asyncio.to_thread(thread.join)

    await kept.during(calls.LOAD, "a", work())
    assert Call("a", CallKind.LOAD, Activity.IN_THREAD) in found[0].open
    assert Call("a", CallKind.LOAD, Activity.IN_THREAD) not in found[1].open
    assert seen(tmp_path).open == ()


async def test_work_in_a_thread_is_its_calls(kept: Any, tmp_path: Path) -> None:
    found: list[Calls] = []

    async def work() -> None:
        inside = calls.within(lambda: found.append(seen(tmp_path)))
        thread = threading.Thread(target=inside)
        thread.start()
        await asyncio.to_thread(thread.join)

    await kept.during(calls.LOAD, "a", work())
    assert Call("a", CallKind.LOAD, Activity.IN_THREAD) in found[0].open
    contextvars.Context().run(calls.within(lambda: found.append(seen(tmp_path))))
    assert found[1].open == (), "work of nobody"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_memory_outlives_the_process_and_what_a_fork_does_is_not_in_it(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        calls.record(memory(tmp_path))

        async def dies() -> None:
            if os.fork() == 0:
                calls._calls.end()
                os._exit(0)
            os.wait()  # noqa: ASYNC222  nothing else is to happen here
            os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(calls.during(calls.UNLOAD, "ü", dies()))
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert seen(tmp_path) == Calls((Call("ü", CallKind.UNLOAD, Activity.ON_LOOP),), False, 1)


def test_a_process_that_was_asked_to_end_says_so(kept: Any, tmp_path: Path) -> None:
    calls.end()
    assert seen(tmp_path).ending


@pytest.mark.parametrize("content", [b"", b"something else", b"overbook calls 9" + bytes(500)])
def test_what_is_not_understood_says_nothing(content: bytes) -> None:
    assert mlserver_calls.read(content) is None


async def test_a_call_costs_microseconds(kept: Any) -> None:
    """By this process's own time, and the best of several rounds: what else the machine does is not looked at."""

    async def work() -> None:
        return None

    async def round_of_500() -> float:
        began = time.process_time()
        for _ in range(500):
            await kept.during(calls.REQUEST, "a", work())
        return time.process_time() - began

    best = min([await round_of_500() for _ in range(8)])
    assert best < 0.05, "500 calls, 100 us each"
