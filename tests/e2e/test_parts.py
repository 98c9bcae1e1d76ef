"""The parts as separate processes: with the scheduler killed, inference and activation go on."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import yaml

from overbook.client.control import ControlClient
from overbook.demo.tally import parse_samples, total
from tests.e2e.process import (
    free_ports,
    model_manifest,
    server_manifest,
    wait_until,
)
from tests.e2e.traffic import Caller, run_all
from tests.e2e.zoo import TrainedModel, zoo

ROUNDS = 4


def _evictions(client: ControlClient) -> int:
    found: Any = client.list("model")
    return sum(
        int(replica["evictions"]) for model in found for replica in model["status"]["replicas"]
    )


def test_without_the_scheduler_models_are_served_and_activated(home: Path) -> None:
    models = zoo(home / "parts-zoo", 6, smallest=0.5, largest=2.0)
    size = max(model.bytes for model in models)
    port, api_port, grpc_port, agent_port, *pages = free_ports(6)
    scheduler_target, agent_target = f"127.0.0.1:{grpc_port}", f"127.0.0.1:{agent_port}"
    state = ("--state-dir", str(home / "parts"))
    processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(part: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "overbook", "serve", part, *state, *arguments]
        with (home / f"{part}.log").open("ab") as log:
            processes[part] = subprocess.Popen(command, stdout=log, stderr=log)

    def start_scheduler() -> None:
        start("scheduler", "--api-port", str(api_port), "--listen", scheduler_target)

    try:
        start_scheduler()
        api = f"http://127.0.0.1:{api_port}"
        wait_until("the API answers", lambda: _answers(f"{api}/healthz"))
        with ControlClient(api) as client:
            documents = [
                server_manifest(size * 3, overcommitPercentage=500),
                *(model_manifest(each.name, each.folder, memory=size) for each in models),
            ]
            assert [each.error for each in client.apply(documents).results if each.error] == []
        start(
            "agent",
            *("--server", "mlserver", "--memory", str(size * 3), "--overcommit", "500"),
            *("--scheduler", scheduler_target, "--listen", agent_target),
            *("--metrics-port", str(pages[0])),
        )
        start(
            "gateway",
            *("--scheduler", scheduler_target, "--port", str(port)),
            *("--metrics-port", str(pages[1])),
        )
        with ControlClient(api) as client:
            wait_until("all models are ready", lambda: _all_ready(client, len(models)), seconds=90)
        wait_until(
            "the data plane answers", lambda: _answers(f"http://127.0.0.1:{port}/v2/health/ready")
        )

        asyncio.run(_ask(port, models, rounds=2))
        with ControlClient(api) as client:
            before = _evictions(client)
        processes["scheduler"].send_signal(signal.SIGKILL)
        processes["scheduler"].wait(10)
        # Six models, room for about three: every round evicts and activates.
        asyncio.run(_ask(port, models, rounds=ROUNDS))
        _each_tells_its_own(pages, asked=(2 + ROUNDS) * len(models))

        start_scheduler()
        wait_until("the API answers again", lambda: _answers(f"{api}/healthz"))
        with ControlClient(api) as client:
            wait_until(
                "all models are ready again", lambda: _all_ready(client, len(models)), seconds=60
            )
            assert _evictions(client) - before >= ROUNDS
        asyncio.run(_ask(port, models, rounds=1))
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        for process in processes.values():
            process.wait(30)
    assert processes["gateway"].returncode == 0
    assert processes["agent"].returncode == 0
    assert not _left_over(str(home / "parts"))


def _each_tells_its_own(pages: list[int], *, asked: int) -> None:
    """The metrics of agent and gateway, on their ports: evictions there, at least so many requests here.

    What models were asked is there as well, as their server counted it, and over all evictions.
    """
    agent, gateway = pages
    assert _total(agent, "overbook_evictions_total", server="mlserver", replica="0") >= ROUNDS
    # Of hot ones the gateway hears from Envoy, a moment later.
    wait_until(
        "all requests are counted", lambda: _total(gateway, "overbook_requests_total") >= asked
    )
    assert _total(agent, "overbook_requests_total") == 0
    wait_until(
        "all answers are counted",
        lambda: _total(agent, "model_infer_request_success_total", server="mlserver") == asked,
    )
    assert _total(gateway, "model_infer_request_success_total") == 0
    assert _total(gateway, "overbook_evictions_total") == 0


def _total(port: int, name: str, **labels: str) -> float:
    """The sum of a metric's samples that bear these labels."""
    page = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).raise_for_status()
    return total(parse_samples(page.text), name, **labels)


async def _ask(port: int, models: list[TrainedModel], rounds: int) -> None:
    caller = Caller(port)
    jobs = [
        partial(caller.rest, model) if number % 2 else partial(caller.grpc, model)
        for number in range(rounds)
        for model in models
    ]
    tally = await run_all(jobs, concurrency=4)
    await caller.close()
    assert tally.failures == []


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _all_ready(client: ControlClient, count: int) -> bool:
    text = yaml.safe_dump(client.list("model"))
    return text.count("reason: ModelAvailable") == count


def _left_over(mark: str) -> list[str]:
    """Processes that still mention the state folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if mark in command:
                found.append(command)
    return found
