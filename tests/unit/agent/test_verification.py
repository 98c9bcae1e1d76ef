"""Nothing is called available before it is known whether it can be loaded, or nobody could try it in time."""

from __future__ import annotations

import asyncio
from pathlib import Path

from overbook.agent.proven import Proven
from overbook.agent.servers.protocol import ModelRejected, PreparedModel, WeighingFailed
from overbook.agent.verification import PATIENCE, Standing, Verification, key_of
from overbook.residency.events import ModelName
from overbook.residency.replica import Limits
from overbook.residency.states import State
from overbook.wire import common_pb2 as common
from tests.fakes.fake_server import Script
from tests.unit.agent.virtual_time import in_virtual_time, settle
from tests.unit.agent.world import MB, A, B, C, World, spec, world

_MODEL = PreparedModel(A, 1, Path("/cache/files"), ("sklearn",))
_COPY = PreparedModel(B, 1, Path("/cache/files"), ("sklearn",))
_OTHER = PreparedModel(A, 2, Path("/cache/files"), ("xgboost",))


def _pending(*models: PreparedModel) -> Verification:
    known = Verification(Proven(Path(":memory:")))
    for model in models:
        known.register(model, 100.0)
    return known


# -- the books


def test_a_content_that_was_loaded_once_is_verified_for_all_who_share_it() -> None:
    known = _pending(_MODEL, _COPY)
    assert known.of(A).standing is Standing.PENDING
    assert set(known.loaded(_MODEL)) == {A, B}
    assert known.of(B).standing is Standing.VERIFIED
    assert known.loaded(_MODEL) == (), "no news"


def test_the_same_files_loaded_in_another_way_are_another_content() -> None:
    known = _pending(_COPY, _OTHER)
    known.loaded(_COPY)
    assert known.of(A).standing is Standing.PENDING
    assert key_of(_MODEL) != key_of(_OTHER)


def test_a_trial_that_raised_is_a_failure_until_it_was_loaded() -> None:
    known = _pending(_MODEL)
    assert set(known.raised(_MODEL, "bad pickle")) == {A}
    assert known.of(A).reason == "a trial load failed: bad pickle"
    known.loaded(_MODEL)
    assert known.raised(_MODEL, "bad pickle") == ()
    assert known.of(A).standing is Standing.VERIFIED


def test_a_trial_that_did_not_survive_proves_nothing() -> None:
    known = _pending(_MODEL)
    known.died(_MODEL, "exit code -9")
    assert known.of(A).standing is Standing.UNVERIFIED
    assert "exit code -9" in known.of(A).reason


def test_who_waited_too_long_is_available_but_for_what_is_being_tried() -> None:
    known = _pending(_MODEL)
    assert known.end_waits(100.0 + PATIENCE - 1, ()) == []
    assert known.end_waits(100.0 + PATIENCE, {"files"}) == []
    assert known.end_waits(100.0 + PATIENCE, ()) == [A]
    assert known.of(A).standing is Standing.UNVERIFIED
    assert known.end_waits(1000.0, ()) == []


def test_who_does_not_want_it_is_told_so_until_it_was_loaded_anyway() -> None:
    known = _pending(_MODEL)
    assert known.of(A, wanted=False).reason == "spec.verify is false; the next request loads it"
    known.loaded(_MODEL)
    assert known.of(A, wanted=False).standing is Standing.VERIFIED


def test_what_left_is_forgotten_and_what_is_unknown_is_pending() -> None:
    known = _pending(_MODEL)
    known.forget(A)
    known.forget(A)
    assert known.of(A).standing is Standing.PENDING
    assert known.raised(_MODEL, "late") == ()


def test_new_content_is_judged_anew() -> None:
    known = _pending(_MODEL)
    known.raised(_MODEL, "bad")
    known.register(_OTHER, 200.0)
    assert known.of(A).standing is Standing.PENDING


# -- with a server that weighs


async def _crowd(made: World) -> None:
    """B and C are in memory and leave no room."""
    await made.assign(spec(B), spec(C))
    await asyncio.sleep(5)
    assert (made.state(B), made.state(C)) == (State.RESIDENT, State.RESIDENT)


@in_virtual_time
async def test_a_weighing_is_the_trial_and_evicts_nobody() -> None:
    async with world(budget=2 * MB, weighs=True) as made:
        await _crowd(made)
        made.server.scale_seconds = 2.0
        await made.assign(spec(A))
        report = made.report(A)
        assert (report.available, report.failed) == (False, False)
        assert report.unverified
        await asyncio.sleep(3)
        report = made.report(A)
        assert (report.available, report.unverified, report.state) == (True, "", common.COLD)
        assert (made.state(B), made.state(C)) == (State.RESIDENT, State.RESIDENT)


@in_virtual_time
async def test_a_weighing_that_raises_is_a_failure_with_its_reason() -> None:
    async with world(budget=2 * MB, weighs=True) as made:
        await _crowd(made)
        made.server.scripts[A] = Script(fail="ValueError: bad")
        await made.assign(spec(A))
        await asyncio.sleep(5)
        report = made.report(A)
        assert (report.available, report.failed) == (False, True)
        assert report.final, "nobody who waits for it needs to wait any longer"
        assert report.last_error == "a trial load failed: ValueError: bad"


@in_virtual_time
async def test_what_is_said_of_a_weighing_says_no_more_than_it_shows() -> None:
    async with world(weighs=True, server_up=False) as made:
        prepared = PreparedModel(A, 1, Path("/cache/x"))
        made.verifier.register(prepared, wanted=True)
        for error, standing in (
            (WeighingFailed("nobody answered"), Standing.PENDING),
            (WeighingFailed("SIGSEGV", died=True), Standing.UNVERIFIED),
            (ModelRejected("no such file"), Standing.FAILED),
            (WeighingFailed("OSError: No space left on device", raised=True), Standing.UNVERIFIED),
            (WeighingFailed("ValueError: bad", raised=True), Standing.FAILED),
            (ModelRejected("its tokenizer was away", passing=True), Standing.UNVERIFIED),
            (None, Standing.VERIFIED),
        ):
            made.verifier.weighed(prepared, error)
            assert made.verifier.of(A, wanted=True).standing is standing


# -- with a server that does not


@in_virtual_time
async def test_where_nothing_is_weighed_a_load_into_free_room_is_the_trial() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(seconds=2.0)
        await made.assign(spec(A))
        assert not made.report(A).available
        await asyncio.sleep(3)
        assert made.report(A).available


@in_virtual_time
async def test_a_load_that_fails_there_never_was_available() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(seconds=2.0, fail="bad pickle")
        await made.assign(spec(A))
        assert not made.report(A).available
        await asyncio.sleep(3)
        report = made.report(A)
        assert (report.available, report.failed, report.last_error) == (False, True, "bad pickle")


@in_virtual_time
async def test_room_for_the_trial_comes_from_idle_models_and_is_given_back() -> None:
    async with world(budget=2 * MB, limits=Limits(headroom=0.0)) as made:
        await _crowd(made)
        await made.assign(spec(A))
        await asyncio.sleep(5)
        assert made.report(A).available
        assert made.state(A) is State.COLD
        resident = [name for name in (B, C) if made.state(name) is State.RESIDENT]
        assert len(resident) == 1


@in_virtual_time
async def test_models_in_use_do_not_leave_for_a_trial() -> None:
    async with world(budget=2 * MB) as made:
        await _crowd(made)
        for name in (B, C):
            await made.grant(name)  # and not passed on: it stays
        await made.assign(spec(A))
        await asyncio.sleep(PATIENCE - 10)
        assert not made.report(A).available
        await asyncio.sleep(20)
        report = made.report(A)
        assert report.available
        assert "no room to try it within 60 s" in report.unverified
        assert (made.state(B), made.state(C)) == (State.RESIDENT, State.RESIDENT)


@in_virtual_time
async def test_a_request_waits_for_no_trial() -> None:
    async with world(budget=2 * MB) as made:
        await _crowd(made)
        await made.assign(spec(A))
        began = made.clock.now()
        assert (await made.activate(A)).refusal is None
        assert made.clock.now() - began < 0.1
        assert made.report(A).available


@in_virtual_time
async def test_one_that_is_taken_unverified_is_available_at_once() -> None:
    async with world(budget=2 * MB) as made:
        await _crowd(made)
        taken = spec(A)
        taken.take_unverified = True
        await made.assign(taken)
        report = made.report(A)
        assert report.available
        assert report.unverified == "spec.verify is false; the next request loads it"
        await asyncio.sleep(30)
        assert made.server.loads.count(A) == 0


@in_virtual_time
async def test_what_was_verified_is_not_tried_again_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "proven.db"
    async with world(proven=Proven(path)) as made:
        await made.assign(spec(A))
        await asyncio.sleep(1)
        made.proven.close()
    async with world(proven=Proven(path), server_up=False) as made:
        await made.assign(spec(A))
        assert made.report(A).available


@in_virtual_time
async def test_one_that_left_while_it_waited_is_forgotten() -> None:
    async with world(budget=2 * MB) as made:
        await _crowd(made)
        for name in (B, C):
            await made.grant(name)
        await made.assign(spec(A))
        await asyncio.sleep(1.2)
        await made.revoke(A)
        await settle()
        assert ModelName(A) not in made.actor.entries
        await asyncio.sleep(100)
