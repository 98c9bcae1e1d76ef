"""The boundary: whatever looking at an artifact raises fails that model, and nothing else."""

from __future__ import annotations

import asyncio
import logging

import pytest

from overbook.agent.looking import MOST_TOLD, failing_alone, looked, told
from overbook.agent.servers.protocol import ModelRejected, ServerUnreachable
from overbook.artifacts.errors import ArtifactError

ANYTHING = [
    RecursionError("maximum recursion depth exceeded"),
    ValueError("Invalid IPv6 URL"),
    KeyError("kept"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    AssertionError(),
]
OF_THE_MACHINE = [OSError(36, "File name too long"), MemoryError(), PermissionError(13, "denied")]


@pytest.mark.parametrize("error", [*ANYTHING, *OF_THE_MACHINE], ids=repr)
def test_whatever_is_raised_is_the_models_failure(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        pytest.raises(
            ModelRejected, match=r"model iris: model.onnx cannot be understood"
        ) as raised,
        failing_alone("iris", "model.onnx"),
    ):
        raise error
    assert type(error).__name__ in str(raised.value)
    assert raised.value.passing == isinstance(error, (OSError, MemoryError))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None, "people get a line, the log gets the traceback"


@pytest.mark.parametrize(
    "error", [ArtifactError("gone"), ModelRejected("no"), ServerUnreachable("dead")], ids=repr
)
def test_what_is_declared_passes_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, failing_alone("iris", "model.onnx"):
        raise error
    assert raised.value is error


async def test_cancellation_passes() -> None:
    async def work() -> None:
        with failing_alone("iris", "model.onnx"):
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_look_runs_beside_the_event_loop_and_ends_in_time() -> None:
    loop = asyncio.get_running_loop()
    hold, moved = asyncio.Event(), []

    def slow() -> None:
        # Ends only when the loop moves on: inside the loop it would hang for ever.
        asyncio.run_coroutine_threadsafe(hold.wait(), loop).result(5.0)

    async def others() -> None:
        moved.append(True)
        hold.set()

    await asyncio.gather(looked("iris", "model.onnx", slow), others())
    assert moved
    hold.clear()
    with pytest.raises(ModelRejected, match=r"did not end within 0.01 s") as raised:
        await looked("iris", "model.onnx", slow, longest=0.01)
    assert raised.value.passing
    hold.set()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\nlines\tof  text", "two lines of text"),
        ("half a pair: \ud800", "half a pair: ?"),
        ("zero \0 byte", "zero ? byte"),
        ("é 猫", "é 猫"),
        ("x" * 9000, "x" * (MOST_TOLD - 1) + "…"),
    ],
)
def test_a_message_is_one_line_that_every_protocol_carries(text: str, line: str) -> None:
    assert told(text) == line
    told(text).encode()
