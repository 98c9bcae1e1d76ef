"""Models that cannot be helped: told once, tried a few times, then left alone until something changes."""

from __future__ import annotations

import asyncio

import pytest

from overbook.agent.commands import Commands
from overbook.agent.reasons import is_passing
from overbook.residency.effects import Refusal
from overbook.wire import common_pb2 as common
from overbook.wire import scheduler_pb2 as pb
from tests.fakes.fake_server import Script
from tests.unit.agent.virtual_time import in_virtual_time, settle
from tests.unit.agent.world import A, B, World, spec, world

HOPELESS = "ModuleNotFoundError: No module named 'nowhere'"


async def activate(made: World, name: str) -> str:
    """By a person; why it could not be done."""
    command = pb.Command(kind=pb.Command.ACTIVATE, model=name, timeout_seconds=30)
    return await Commands(made.actor, made.assignments).run(command)


@in_virtual_time
async def test_a_hopeless_load_is_tried_four_times_and_told_twice() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(fail=HOPELESS)
        await made.assign(spec(A))
        assert not made.report(A).final
        await asyncio.sleep(3600)
        assert made.server.loads == [A] * 4
        assert made.events().count("ModelLoadFailed") == 2, "that it failed, and that it stays so"
        report = made.report(A)
        assert (report.state, report.failed, report.final) == (common.FAILED, True, True)
        assert report.last_error == HOPELESS


@in_virtual_time
async def test_a_request_for_it_has_its_answer_at_once() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(fail=HOPELESS)
        await made.assign(spec(A))
        await asyncio.sleep(100)
        for _ in range(50):
            answer = await made.activate(A)
            assert (answer.refusal, answer.reason) == (Refusal.LOAD_FAILED, HOPELESS)
            assert (answer.retry_after, answer.waited) == (0.0, 0.0)
        assert made.server.loads == [A] * 4


@in_virtual_time
async def test_what_may_pass_is_tried_for_ever() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(fail="ConnectionError: the feature store is away")
        await made.assign(spec(A))
        await asyncio.sleep(3600)
        assert len(made.server.loads) > 10
        assert made.events().count("ModelLoadFailed") == 1
        assert not made.report(A).final
        made.server.scripts[A] = Script()
        await asyncio.sleep(301)
        assert made.report(A).available


@in_virtual_time
async def test_a_person_has_it_tried_again() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(fail=HOPELESS)
        await made.assign(spec(A))
        await asyncio.sleep(100)
        assert await activate(made, A) == HOPELESS
        assert made.server.loads == [A] * 5
        await asyncio.sleep(100)
        made.server.scripts[A] = Script()
        assert await activate(made, A) == ""
        assert made.report(A).available
        assert not made.report(A).failed


@in_virtual_time
async def test_mended_files_have_it_tried_again_and_a_new_failure_is_news() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(fail=HOPELESS)
        await made.assign(spec(A))
        await asyncio.sleep(100)
        await made.assign(spec(A, 2, fingerprint="2"))
        assert not made.report(A).final
        await asyncio.sleep(100)
        assert made.events().count("ModelLoadFailed") == 4
        made.server.scripts[A] = Script()
        await made.assign(spec(A, 3, fingerprint="3"))
        assert made.report(A).available


# -- files that are refused before anything is loaded


@in_virtual_time
async def test_refused_files_are_looked_at_once() -> None:
    async with world() as made:
        made.server.invalid["a-1"] = "model a: model-settings.json cannot be read"
        await made.assign(spec(A))
        await asyncio.sleep(3600)
        report = made.report(A)
        assert (report.failed, report.final) == (True, True)
        assert made.cache.brought == ["/a"]
        assert made.events().count("ArtifactFailed") == 1
        answer = await made.activate(A)
        assert (answer.refusal, answer.retry_after) == (Refusal.LOAD_FAILED, 0.0)


@in_virtual_time
async def test_a_scheduler_that_repeats_itself_is_no_change() -> None:
    async with world() as made:
        made.server.invalid["a-1"] = "model a: model-settings.json cannot be read"
        await made.assign(spec(A))
        for _ in range(3):
            await made.assign(spec(A))
        assert made.cache.brought == ["/a"]
        assert made.events().count("ArtifactFailed") == 1
        del made.server.invalid["a-1"]
        await made.assign(spec(A, 2, memory=2000))
        assert made.report(A).available, "any change of the manifest is a reason to look again"


@in_virtual_time
@pytest.mark.parametrize("by_a_person", [False, True])
async def test_refused_files_are_looked_at_again_after_a_change_or_for_a_person(
    by_a_person: bool,
) -> None:
    async with world() as made:
        made.server.invalid["a-1"] = "model a: model-settings.json cannot be read"
        await made.assign(spec(A))
        await asyncio.sleep(100)
        if by_a_person:
            assert "cannot be read" in await activate(made, A)
            del made.server.invalid["a-1"]
            assert await activate(made, A) == ""
        else:
            await made.assign(spec(A, 2, fingerprint="2"))
        assert made.report(A).available
        assert not made.report(A).failed


@in_virtual_time
async def test_files_that_cannot_be_read_for_want_of_the_machine_are_looked_at_again() -> None:
    async with world() as made:
        made.server.invalid["a-1"] = "config.pbtxt: [Errno 24] Too many open files"
        await made.assign(spec(A))
        assert not made.report(A).final
        del made.server.invalid["a-1"]
        await asyncio.sleep(61)
        assert made.report(A).available


@in_virtual_time
async def test_an_artifact_that_is_not_there_is_waited_for() -> None:
    async with world() as made:
        made.cache.failures["/a"] = "/a does not exist"
        await made.assign(spec(A))
        await asyncio.sleep(3600)
        assert not made.report(A).final
        del made.cache.failures["/a"]
        await asyncio.sleep(61)
        assert made.report(A).available


@in_virtual_time
@pytest.mark.parametrize(
    "error",
    [
        RecursionError("maximum recursion depth exceeded"),
        ValueError("Invalid IPv6 URL"),
        OSError(36, "File name too long"),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    ],
    ids=repr,
)
async def test_whatever_a_look_raises_fails_one_model_alone(error: Exception) -> None:
    async with world() as made:
        made.server.raises["a-1"] = error
        await made.assign(spec(A), spec(B))
        report = made.report(A)
        assert report.failed
        assert "model a: its artifact '/a' cannot be understood" in report.last_error
        assert (await made.activate(B)).refusal is None
        del made.server.raises["a-1"]
        await made.assign(spec(A, 2, fingerprint="2"))
        await settle()
        assert made.report(A).available


@in_virtual_time
async def test_words_of_a_server_that_are_no_text_end_nobody() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(fail="ValueError: \ud800\0")
        await made.assign(spec(A), spec(B))
        assert made.report(A).last_error == "ValueError: ??"
        assert made.events().count("ModelLoadFailed") == 1
        assert (await made.activate(B)).refusal is None


@in_virtual_time
async def test_a_scale_that_answers_nonsense_ends_nobody() -> None:
    async with world(weighs=True) as made:
        made.server.raises_weighing = KeyError("kept")
        await made.assign(spec(A))
        await asyncio.sleep(10)
        assert (await made.activate(A)).refusal is None


# -- which reasons may pass


@pytest.mark.parametrize(
    "reason",
    [
        HOPELESS,
        "UnpicklingError: invalid load key, '\\x00'.",
        "MLServer refused a: AttributeError: Can't get attribute 'Net' on <module '__main__'>",
        "SyntaxError: invalid syntax (model.py, line 3)",
        "ValueError: shapes (3,4) and (5,) not aligned",
        "its process died while it loaded",
        "ModuleNotFoundError: No module named 'networkx'",
        "TypeError: load() got an unexpected keyword argument 'timeout'",
        "failed to load 'a', version 1 is at UNAVAILABLE state: Internal: no such file",
    ],
)
def test_what_lies_in_the_content(reason: str) -> None:
    assert not is_passing(reason)


@pytest.mark.parametrize(
    "reason",
    [
        "MemoryError",
        "Unable to allocate 7.45 GiB for an array with shape (1000000000,)",
        "OSError: [Errno 28] No space left on device",
        "ConnectionRefusedError: [Errno 111] Connection refused",
        "ConnectionError: the feature store is away",
        "TimeoutError: timed out",
        "socket.gaierror: [Errno -3] Temporary failure in name resolution",
        "requests.exceptions.HTTPError: 503 Server Error: Service Unavailable",
    ],
)
def test_what_may_pass(reason: str) -> None:
    assert is_passing(reason)
