"""An agent runs to its end, or until its runtime has another environment."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from overbook.machine.agents import (
    AgentSettings,
    AgentSupervisor,
    _Asked,
    _runs_until,
    _Wanted,
    _wish,
)
from overbook.machine.runtimes import RuntimeKeeper
from overbook.runtimes.install import RuntimeEnvironment, UnknownRuntime
from overbook.runtimes.own import Wish
from overbook.wire import scheduler_pb2 as pb


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def at_once() -> None:
    return None


async def broken() -> None:
    raise ValueError("broken")


async def test_work_that_ends_by_itself() -> None:
    assert await _runs_until(at_once(), forever()) is False
    with pytest.raises(ValueError, match="broken"):
        await _runs_until(broken(), forever())


async def test_work_that_is_out_of_date_is_cancelled_and_cleans_up() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            ended.append("cleaned up")

    assert await _runs_until(work(), at_once()) is True
    assert ended == ["cleaned up"]


async def test_what_fails_while_it_is_cancelled_is_told() -> None:
    async def work() -> None:
        try:
            await forever()
        finally:
            raise ValueError("on the way out")

    with pytest.raises(ValueError, match="on the way out"):
        await _runs_until(work(), at_once())


async def test_a_cancelled_caller_takes_both_along() -> None:
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await forever()
        finally:
            ended.append(name)

    task = asyncio.ensure_future(_runs_until(work("work"), work("watch")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == ["watch", "work"]


def test_what_a_servers_own_environment_consists_of() -> None:
    assert _wish(pb.ServerSpec(name="plain")) is None
    spec = pb.ServerSpec(environment=pb.Environment(packages=["a==1"]))
    assert _wish(spec) == Wish(packages=("a==1",))
    spec = pb.ServerSpec(environment=pb.Environment(archive="/env.tar.gz"))
    assert _wish(spec) == Wish(archive=Path("/env.tar.gz"))


async def test_whatever_goes_wrong_is_told_in_a_line_and_tried_again_ever_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Keeper(RuntimeKeeper):
        async def ensure(self, *_args: object, **_kwargs: object) -> RuntimeEnvironment:
            raise wrong

    supervisor = AgentSupervisor(
        state_dir=tmp_path,
        run_dir=tmp_path,
        scheduler="unix:nowhere",
        keeper=Keeper(tmp_path, lambda _message, _fraction: None),
        settings=AgentSettings(),
    )
    told: list[tuple[str, bool]] = []
    pauses: list[float] = []

    def put(_server: str, _replica: int, text: str, *, failed: bool = False) -> None:
        told.append((text, failed))

    async def asks_for_another(_wanted: _Wanted, *, within: float) -> None:
        pauses.append(within)
        if len(pauses) == 7:
            raise asyncio.CancelledError

    monkeypatch.setattr(supervisor._news, "put", put)
    monkeypatch.setattr(supervisor, "_asks_for_another", asks_for_another)
    wanted = _Wanted(server="s", replica=0, runtime="mlserver", extra=(), attachment=None)
    wrong = ValueError("much " * 1_000_000)
    with pytest.raises(asyncio.CancelledError):
        await supervisor._keep_running(wanted)
    assert pauses == [2, 4, 8, 16, 32, 60, 60]
    assert len(set(told)) == 1
    assert told[0][0].startswith("its environment was not made: ValueError: much much")
    assert len(told[0][0]) < 700
    assert told[0][1]

    async def run(_wanted: _Wanted, _name: str) -> bool:
        raise wrong

    monkeypatch.setattr(supervisor, "_run", run)
    told.clear()
    pauses.clear()
    with pytest.raises(asyncio.CancelledError):
        await supervisor._keep_running(wanted)
    assert pauses == [2, 4, 8, 16, 32, 60, 60]
    assert told[0][0].startswith("its agent failed: ValueError: much much")
    assert len(told[0][0]) < 700
    assert told[0][1]


async def test_a_runtime_that_nobody_knows_is_the_failure_of_its_server_alone(
    tmp_path: Path,
) -> None:
    """It may be stored from a time when it was known: to make it fails, and to look whether it is there does not."""
    supervisor = AgentSupervisor(
        state_dir=tmp_path,
        run_dir=tmp_path,
        scheduler="unix:nowhere",
        keeper=RuntimeKeeper(tmp_path, lambda _message, _fraction: None),
        settings=AgentSettings(),
    )
    wanted = _Wanted("custom", 0, "mlserver-custom", (), None)
    asked = await supervisor._asked(wanted)
    assert asked == _Asked(None, None)
    with pytest.raises(UnknownRuntime, match="expected one of: mlserver, triton"):
        await supervisor._ensure(wanted, asked)
