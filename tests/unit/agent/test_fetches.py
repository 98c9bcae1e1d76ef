"""What is told of models' files: that they came, what that took, and that they left."""

from __future__ import annotations

import asyncio

import pytest

from overbook.agent import fetches
from overbook.agent.uses import users
from overbook.artifacts.errors import NoRoomYet, SourceError, Trouble
from overbook.artifacts.space import Usage
from overbook.artifacts.transfer import Brought, Transferred
from tests.unit.agent.virtual_time import in_virtual_time, settle
from tests.unit.agent.world import A, B, World, spec, world


def told(made: World, reason: str) -> list[tuple[str, str]]:
    return [(each.model, each.message) for each in made.notices.events if each.reason == reason]


@in_virtual_time
async def test_a_fetch_from_elsewhere_is_told_and_a_copy_is_not() -> None:
    async with world() as made:
        uri = spec(A).storage_uri
        made.cache.took[uri] = Brought(2048, 2.0)
        await made.assign(spec(A), spec(B))
        assert told(made, "ArtifactFetched") == [(A, f"2KiB from {uri} in 2 s (1KiB/s)")]


@in_virtual_time
async def test_who_follows_a_model_hears_that_its_files_left() -> None:
    async with world() as made:
        await made.assign(spec(A), spec(B))
        content = made.assignments.assigned[A].content
        assert content is not None
        digest = content.artifact.digest
        made.cache.left.add(digest)
        made.notices.dirty.clear()
        made.agent.files_left(digest)
        made.agent.files_left("of nobody")
        assert [model for model, _ in told(made, "FilesLeft")] == [A]
        assert made.notices.dirty == {A}
        assert (made.report(A).files_here, made.report(B).files_here) == (False, True)


@in_virtual_time
async def test_models_with_the_same_files_have_them_together() -> None:
    async with world() as made:
        made.cache.digests = {spec(A).storage_uri: "same", spec(B).storage_uri: "same"}
        await made.assign(spec(A), spec(B))
        await settle()
        assigned = made.assignments.assigned.values()
        assert sorted(users(assigned, "same")) == [A, B]
        assert users(assigned, "other") == []


@in_virtual_time
async def test_a_report_says_how_far_the_fetch_is() -> None:
    async with world() as made:
        uri = spec(A).storage_uri
        made.cache.seconds[uri] = 5.0
        made.cache.transfers[uri] = Transferred(5, None, 2.5, None)
        await made.assign(spec(A))
        transfer = made.report(A).transfer
        assert (transfer.done, transfer.HasField("total"), transfer.bytes_per_second) == (
            5,
            False,
            2.5,
        )
        assert not made.report(A).files_here


@in_virtual_time
async def test_progress_is_told_when_there_is_some() -> None:
    async with world() as made:
        uri = spec(A).storage_uri
        made.cache.seconds[uri] = 60.0
        made.cache.transfers[uri] = Transferred(0, 10, 0.0, None)
        await made.assign(spec(A))
        made.notices.dirty.clear()
        await asyncio.sleep(5)
        assert made.notices.dirty == set(), "it waits for its turn at the source"
        made.cache.transfers[uri] = Transferred(5, 10, 1.0, 5.0)
        await asyncio.sleep(2)
        assert made.notices.dirty == {A}
        made.notices.dirty.clear()
        await asyncio.sleep(5)
        assert made.notices.dirty == set(), "nothing came since"


@in_virtual_time
async def test_a_fetch_that_takes_time_is_told_when_it_begins_and_once() -> None:
    async with world() as made:
        for name, total in ((A, 1 << 30), (B, None)):
            uri = spec(name).storage_uri
            made.cache.seconds[uri] = 3.0
            made.cache.transfers[uri] = Transferred(1, total, 0.0, None)
            made.cache.troubles[uri] = SourceError(Trouble.UNREACHABLE, "it is away")
        await made.assign(spec(A), spec(B))
        await asyncio.sleep(20)
        assert sorted(told(made, "ArtifactFetching")) == [
            (A, f"1GiB from {spec(A).storage_uri}"),
            (B, f"files from {spec(B).storage_uri}"),
        ]


@in_virtual_time
async def test_a_report_says_when_what_failed_is_tried_again() -> None:
    async with world() as made:
        uri = spec(A).storage_uri
        made.cache.troubles[uri] = SourceError(Trouble.UNREACHABLE, "it is away")
        await made.assign(spec(A))
        assert made.report(A).retry_at == pytest.approx(made.clock.wall() + 2.0, abs=0.5)
        await asyncio.sleep(3)
        assert made.report(A).retry_at == pytest.approx(made.clock.wall() + 3.0, abs=0.5)
        made.cache.seconds[uri] = 10.0
        await asyncio.sleep(4)
        assert made.report(A).retry_at == 0.0, "a try is under way"
        del made.cache.troubles[uri]
        await asyncio.sleep(20)
        assert (made.report(A).available, made.report(A).retry_at) == (True, 0.0)


@in_virtual_time
async def test_a_fetch_that_waits_for_room_or_its_turn_has_not_failed() -> None:
    async with world() as made:
        uri = spec(A).storage_uri
        made.cache.troubles[uri] = NoRoomYet("waiting for room on disk")
        await made.assign(spec(A))
        report = made.report(A)
        assert (report.failed, report.unverified) == (False, "waiting for room on disk")
        assert report.retry_at == pytest.approx(made.clock.wall() + 2.0, abs=0.5)


@in_virtual_time
async def test_the_disk_is_told_of_in_each_report_and_looked_at_now_and_then() -> None:
    async with world() as made:
        usages = iter([Usage(1, 0, 0, 9), Usage(2, 0, 0, 9)])
        reporter = made.agent.reporter
        reporter._disk = lambda: next(usages)
        reporter._disk_told = None
        assert [reporter.server().disk.used for _ in range(3)] == [1, 1, 1]
        await asyncio.sleep(2)
        assert [reporter.server().disk.used for _ in range(3)] == [2, 2, 2]


@in_virtual_time
async def test_models_of_a_source_that_never_answers_keep_no_others_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetches, "_CONCURRENT", 3)
    async with world() as made:
        hanging = [f"s3://hangs/m{each}" for each in range(5)]
        made.cache.seconds.update(dict.fromkeys(hanging, 10_000.0))
        specs = [spec(f"m{each}", uri=uri) for each, uri in enumerate(hanging)]
        await made.assign(*specs, spec("good", uri="s3://answers/good"))
        await settle()
        assert made.assignments.assigned["good"].current
        assert sum(made.cache.asked[uri] for uri in hanging) == 3


@in_virtual_time
async def test_a_try_takes_the_secret_that_its_model_names_by_then() -> None:
    async with world() as made:
        uri = spec(A).storage_uri
        made.cache.troubles[uri] = NoRoomYet("waiting for room on disk")
        await made.assign(spec(A))
        other = spec(A)
        other.secret = "other"
        await made.assign(other)
        del made.cache.troubles[uri]
        await asyncio.sleep(10)
        content = made.assignments.assigned[A].content
        assert content is not None
        assert content.source.secret == "other"


@in_virtual_time
async def test_another_address_ends_the_fetch_of_the_one_before() -> None:
    async with world() as made:
        made.cache.seconds["s3://old/a"] = 30.0
        await made.assign(spec(A, uri="s3://old/a"))
        await asyncio.sleep(5)
        await made.assign(spec(A, 2, uri="s3://new/a"))
        await settle()
        content = made.assignments.assigned[A].content
        assert content is not None
        assert content.source.storage_uri == "s3://new/a"
        await asyncio.sleep(60)
        assert made.cache.brought == ["s3://new/a"]
