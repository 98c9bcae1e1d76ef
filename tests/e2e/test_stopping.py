"""A stop drains: requests that run are answered within the grace, readiness says no, and nothing is left behind."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import grpc
import grpc.aio
import httpx
import pytest

from overbook.client.control import ControlClient
from tests.e2e.process import Overbook, model_manifest, oip_error, server_manifest, wait_until
from tests.e2e.stopping import (
    Traffic,
    asking_slowly,
    http_answers,
    keep_asking,
    left_over,
    parts,
    until_in_flight,
)
from tests.e2e.test_in_flight import slow_model

SLOW = 2.0


@pytest.fixture(scope="module")
def slow_folder(home: Path) -> Path:
    return slow_model(home / "slow-files")


def _apply_slow(running: Overbook, files: Path) -> None:
    applied = running.apply(
        server_manifest("100Mi"),
        model_manifest("slow", files, requirements=["python"], memory=15_000_000),
    )
    assert applied.code == 0, applied.err


def _stop(running: Overbook) -> None:
    assert running.process is not None
    running.process.send_signal(signal.SIGTERM)


def _end(running: Overbook) -> None:
    running.stop()
    running.api.close()
    running.data.close()


def _ends(running: Overbook, seconds: float) -> tuple[int, float]:
    assert running.process is not None
    began = time.monotonic()
    return running.process.wait(seconds), time.monotonic() - began


def test_up_answers_what_runs_and_says_meanwhile_that_it_is_not_ready(
    home: Path, slow_folder: Path
) -> None:
    running = Overbook(home / "drains").start().wait_ready()
    try:
        _apply_slow(running, slow_folder)

        async def scenario() -> tuple[list[int], list[float], int]:
            async with asking_slowly(running.port) as slow:
                rest = [asyncio.create_task(slow.rest(SLOW)) for _ in range(3)]
                over_grpc = [asyncio.create_task(slow.grpc(SLOW)) for _ in range(3)]
                await until_in_flight(running, "slow", 6)
                _stop(running)
                await asyncio.sleep(0.2)
                async with httpx.AsyncClient(timeout=10) as probe:
                    api = f"http://127.0.0.1:{running.api_port}"
                    gateway = f"http://127.0.0.1:{running.port}"
                    said = [
                        (await probe.get(f"{api}/readyz")).status_code,
                        (await probe.get(f"{gateway}/v2/health/ready")).status_code,
                        (await probe.get(f"{gateway}/v2/health/live")).status_code,
                        (await probe.get(f"{api}/healthz")).status_code,
                    ]
                answers = await asyncio.gather(*rest)
                messages = await asyncio.gather(*over_grpc)
                assert [each.status_code for each in answers] == [200] * 3
                closing = [each.headers.get("connection") for each in answers]
                return (
                    said,
                    [each.outputs[0].contents.fp64_contents[0] for each in messages],
                    closing.count("close"),
                )

        said, slept, closing = asyncio.run(scenario())
        assert said == [503, 503, 200, 200]
        assert slept == [SLOW] * 3
        assert closing == 3
        code, took = _ends(running, 10)
        assert code == 0, running.log()
        assert took < 2.0
        assert "stopping: 6 requests still run, up to 30 s; press Ctrl-C again" in running.log()
    finally:
        _end(running)
    assert left_over(str(running.folder)) == []


def test_a_stop_with_nothing_in_flight_is_quick(home: Path, slow_folder: Path) -> None:
    running = Overbook(home / "idle").start().wait_ready()
    _apply_slow(running, slow_folder)
    assert http_answers(f"http://127.0.0.1:{running.port}/v2/health/ready")
    _stop(running)
    code, took = _ends(running, 20)
    assert code == 0, running.log()
    assert took < 2.0
    assert "still run" not in running.log()
    _end(running)


def test_a_stop_does_not_wait_for_an_environment_that_is_being_made(home: Path) -> None:
    """Not for uv either, which a signal to Overbook alone does not reach."""
    with Overbook(home / "making") as running:
        own = {"packages": ["scikit-learn==1.7.1"]}
        applied = running.apply(server_manifest("100Mi", environment=own), wait=False)
        assert applied.code == 0, applied.err

        def said() -> str:
            [server] = running.servers()
            return str(server["status"]["conditions"][0]["message"])

        wait_until("uv is at work", lambda: "packages" in said(), seconds=120)
        assert "is being made" in said()
        _stop(running)
        code, took = _ends(running, 120)
        assert code == 0, running.log()
        assert took < 20, "to make it takes longer than that on a busy machine"
    assert left_over(str(running.folder)) == []


def test_a_rolling_stop_and_start_of_up_cuts_no_request(home: Path, slow_folder: Path) -> None:
    running = Overbook(home / "rolling").start().wait_ready()
    try:
        _apply_slow(running, slow_folder)

        async def scenario() -> Traffic:
            traffic, until = Traffic(), asyncio.Event()
            askers = [
                asyncio.create_task(keep_asking(running.port, seconds, until, traffic))
                for seconds in (SLOW, SLOW, 0.05, 0.05)
            ]
            await until_in_flight(running, "slow", 2)
            for _ in range(2):
                _stop(running)
                code, took = await asyncio.to_thread(_ends, running, 30)
                assert code == 0
                assert took < SLOW + 6
                running.start()
                await asyncio.to_thread(running.wait_ready)
                await until_in_flight(running, "slow", 2)
            until.set()
            await asyncio.gather(*askers)
            return traffic

        traffic = asyncio.run(scenario())
        assert traffic.failures == []
        assert traffic.answered > 20
        assert traffic.refused > 0  # while nobody was there
    finally:
        _end(running)


def test_what_outlasts_the_grace_is_cut_then_and_told_so(home: Path, slow_folder: Path) -> None:
    running = Overbook(home / "short", "--grace", "1s").start().wait_ready()
    try:
        _apply_slow(running, slow_folder)

        async def scenario() -> tuple[httpx.Response, grpc.aio.AioRpcError, float]:
            async with asking_slowly(running.port) as slow:
                rest = asyncio.create_task(slow.rest(30.0))
                over_grpc = asyncio.create_task(slow.grpc(30.0))
                await until_in_flight(running, "slow", 2)
                began = time.monotonic()
                _stop(running)
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await over_grpc
                return await rest, raised.value, time.monotonic() - began

        response, error, took = asyncio.run(scenario())
        assert 1.0 <= took < 3.5
        assert response.status_code == 503, response.text
        assert "stopping" in oip_error(response)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "stopping" in (error.details() or "")
        code, took = _ends(running, 10)
        assert code == 0, running.log()
        assert took < 3.0
        assert "stopping: 2 requests cut after 1 s" in running.log()
    finally:
        _end(running)
    assert left_over(str(running.folder)) == []


def test_a_second_signal_ends_at_once_and_leaves_nothing_running(
    home: Path, slow_folder: Path
) -> None:
    running = Overbook(home / "twice").start().wait_ready()
    _apply_slow(running, slow_folder)

    async def scenario() -> None:
        async with asking_slowly(running.port) as slow:
            rest = asyncio.create_task(slow.rest(30.0))
            await until_in_flight(running, "slow", 1)
            _stop(running)
            await asyncio.sleep(1.0)
            assert running.process is not None
            assert running.process.poll() is None
            _stop(running)
            code, took = await asyncio.to_thread(_ends, running, 10)
            assert code == 128 + signal.SIGTERM
            assert took < 1.0
            with pytest.raises(httpx.HTTPError):
                await rest

    asyncio.run(scenario())
    wait_until("all have ended", lambda: not left_over(str(running.folder)), seconds=2)
    running.start().wait_ready()  # nothing that was left stands in its way
    assert running.stop() == 0
    _end(running)


def test_parts_stop_and_start_again_under_traffic_and_cut_no_request(
    home: Path, slow_folder: Path
) -> None:
    with parts(home / "parts") as running:
        running.start_scheduler()
        with ControlClient(running.api) as client:
            applied = client.apply(
                [
                    server_manifest("100Mi", replicas=2),
                    model_manifest(
                        "slow",
                        slow_folder,
                        requirements=["python"],
                        memory=15_000_000,
                        replicas=2,
                    ),
                ]
            )
            assert [each.error for each in applied.results if each.error] == []
        running.start_agent(0)
        running.start_agent(1)
        running.start_gateway()
        data = f"http://127.0.0.1:{running.port}"
        wait_until("both are ready", lambda: _ready_at(running.api) == 2, seconds=90)
        wait_until("the gateway is ready", lambda: http_answers(f"{data}/v2/health/ready"))

        async def scenario() -> tuple[Traffic, Traffic]:
            cut, until = Traffic(), asyncio.Event()
            askers = [
                asyncio.create_task(keep_asking(running.port, seconds, until, cut))
                for seconds in (SLOW, SLOW, SLOW, 0.05)
            ]
            await asyncio.sleep(1.0)
            for replica in (0, 1):
                running.say_stop(f"agent-{replica}")
                assert await running.ended(f"agent-{replica}") < SLOW + 3
                running.start_agent(replica)
                await asyncio.to_thread(
                    wait_until, "both are ready again", lambda: _ready_at(running.api) == 2
                )
            running.say_stop("scheduler")
            assert not await asyncio.to_thread(http_answers, f"{running.api}/readyz")
            assert await running.ended("scheduler") < 2.0
            running.start_scheduler()
            assert cut.refused == 0
            served = Traffic(cut.answered)
            running.say_stop("gateway")
            await asyncio.sleep(0.1)
            assert await asyncio.to_thread(http_answers, f"{data}/v2/health/ready", 503)
            assert await asyncio.to_thread(http_answers, f"{data}/v2/health/live")
            assert await running.ended("gateway") < SLOW + 5
            until.set()
            await asyncio.gather(*askers)
            return served, cut

        served, cut = asyncio.run(scenario())
        assert cut.failures == []
        assert served.answered > 20
        for name in ("agent-0", "agent-1", "scheduler"):
            running.say_stop(name)
            asyncio.run(running.ended(name))
    assert left_over(str(running.folder)) == []


def _ready_at(api: str) -> int:
    """How many replicas of the Server serve."""
    try:
        with ControlClient(api) as client:
            found = client.get("server", "mlserver")
    except Exception:
        return 0
    status = found["status"]
    assert isinstance(status, dict)
    replicas = status["replicas"]
    assert isinstance(replicas, list)
    return sum(isinstance(each, dict) and each["state"] == "ready" for each in replicas)
