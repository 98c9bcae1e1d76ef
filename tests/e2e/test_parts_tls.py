"""The parts as separate processes that know each other by certificates: nobody else is taken for one, and renewed
certificates are taken while they work.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

import grpc
import httpx
import pytest
import yaml

from overbook.client.control import ControlClient
from overbook.tls.files import PEER_NAME
from overbook.wire import scheduler_pb2 as pb
from overbook.wire import scheduler_pb2_grpc
from tests.e2e.process import Overbook, free_ports, model_manifest, server_manifest, wait_until
from tests.e2e.traffic import Caller, run_all
from tests.e2e.zoo import TrainedModel, zoo


class Parts:
    """Scheduler, agent and gateway, each a process that has a certificate of its parts' authority."""

    def __init__(self, home: Path, models: list[TrainedModel]) -> None:
        self.home = home
        self.models = models
        self.certificates = home / "certificates"
        self.port, self.api_port, self.grpc_port, self.agent_port = free_ports(4)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.room = max(each.bytes for each in models) * 3

    def init(self, *arguments: str) -> None:
        made = Overbook(self.home / "init").run(
            "tls", "init", "--dir", str(self.certificates), *arguments
        )
        assert made.code == 0, made.err

    def start(self, part: str, *arguments: str) -> None:
        folder = self.certificates
        peers = (
            *("--peer-cert", str(folder / "peer.pem"), "--peer-key", str(folder / "peer.key")),
            *("--peer-ca", str(folder / "peer-ca.pem")),
        )
        command = [
            *(sys.executable, "-m", "overbook", "serve", part, *peers),
            *("--state-dir", str(self.home / "parts"), *arguments),
        ]
        with (self.home / f"{part}.log").open("ab") as log:
            self.processes[part] = subprocess.Popen(command, stdout=log, stderr=log)

    def start_scheduler(self) -> None:
        # All addresses of this machine: nothing of loopback makes it private.
        self.start(
            "scheduler",
            *("--api-port", str(self.api_port), "--listen", f"0.0.0.0:{self.grpc_port}"),
        )
        wait_until(
            "the API answers", partial(_answers, f"http://127.0.0.1:{self.api_port}/healthz")
        )

    def start_all(self) -> None:
        self.init()
        self.start_scheduler()
        with ControlClient(f"http://127.0.0.1:{self.api_port}") as client:
            documents = [
                server_manifest(self.room, overcommitPercentage=500),
                *(model_manifest(each.name, each.folder) for each in self.models),
            ]
            assert [each.error for each in client.apply(documents).results if each.error] == []
        target = f"localhost:{self.grpc_port}"
        self.start(
            "agent",
            *("--server", "mlserver", "--memory", str(self.room), "--overcommit", "500"),
            *("--scheduler", target, "--listen", f"127.0.0.1:{self.agent_port}"),
        )
        self.start("gateway", "--scheduler", target, "--port", str(self.port))
        self.wait_ready()

    def wait_ready(self) -> None:
        with ControlClient(f"http://127.0.0.1:{self.api_port}") as client:
            wait_until(
                "all models are ready", partial(_all_ready, client, len(self.models)), seconds=90
            )
        wait_until(
            "the data plane answers",
            partial(_answers, f"http://127.0.0.1:{self.port}/v2/health/ready"),
        )

    async def ask(self, rounds: int) -> None:
        caller = Caller(self.port)
        jobs = [
            partial(caller.rest, model) if number % 2 else partial(caller.grpc, model)
            for number in range(rounds)
            for model in self.models
        ]
        tally = await run_all(jobs, concurrency=4)
        await caller.close()
        assert tally.failures == []

    def taken(self) -> list[int]:
        """How many renewed certificates each part has taken."""
        logs = (
            self.home / f"parts/{part}.log" for part in ("scheduler", "agent-mlserver-0", "gateway")
        )
        return [each.read_text().count("peer.pem: a new one is in use") for each in logs]

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(30)


@pytest.fixture(scope="module")
def parts(home: Path) -> Iterator[Parts]:
    # Room for about half of them: every round evicts and activates, by calls from gateway to agent.
    made = Parts(home, zoo(home / "parts-zoo", 6, smallest=0.5, largest=2.0))
    try:
        made.start_all()
        yield made
    finally:
        made.stop()


def test_models_are_served_and_activated(parts: Parts) -> None:
    asyncio.run(parts.ask(2))


Pair: TypeAlias = "tuple[bytes, bytes] | None"


def said(port: int, roots: bytes | None, pair: Pair) -> grpc.StatusCode:
    """What a caller is told at a part's port that asks as parts do. ``roots``: whom it trusts, None for no TLS;
    ``pair``: key and certificate that it shows.
    """
    target = f"127.0.0.1:{port}"
    if roots is None:
        channel = grpc.insecure_channel(target)
    else:
        channel = grpc.secure_channel(
            target,
            grpc.ssl_channel_credentials(roots, *(pair or (None, None))),
            options=(("grpc.ssl_target_name_override", PEER_NAME),),
        )
    with channel:
        stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
        servers = stub.WatchServers(pb.WatchServersRequest(machine="local"), timeout=10)
        try:
            next(servers)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        return grpc.StatusCode.OK


def pair_in(folder: Path, name: str) -> tuple[bytes, bytes]:
    return (folder / f"{name}.key").read_bytes(), (folder / f"{name}.pem").read_bytes()


def test_nobody_else_is_taken_for_a_part(parts: Parts) -> None:
    folder = parts.certificates
    roots = (folder / "peer-ca.pem").read_bytes()
    # The same question, asked by a part; agents are not who answers it.
    assert said(parts.grpc_port, roots, pair_in(folder, "peer")) is grpc.StatusCode.OK
    assert said(parts.agent_port, roots, pair_in(folder, "peer")) is grpc.StatusCode.UNIMPLEMENTED
    for port in (parts.grpc_port, parts.agent_port):
        strangers: list[tuple[bytes | None, Pair]] = [
            (None, None),
            (roots, None),
            (roots, pair_in(folder, "client")),
        ]
        for trusts, shows in strangers:
            assert said(port, trusts, shows) is grpc.StatusCode.UNAVAILABLE, (port, shows)


def test_renewed_certificates_are_taken_while_parts_work(parts: Parts) -> None:
    async def renew_under_traffic() -> None:
        asking = asyncio.create_task(parts.ask(6))
        for _ in range(2):
            await asyncio.to_thread(parts.init, "--renew")
            await asyncio.sleep(2.5)
        await asking

    asyncio.run(renew_under_traffic())
    assert min(parts.taken()) >= 2
    # A scheduler that knows nothing but the new ones is found again by the others.
    parts.processes["scheduler"].send_signal(signal.SIGKILL)
    parts.processes["scheduler"].wait(10)
    asyncio.run(parts.ask(1))
    parts.start_scheduler()
    parts.wait_ready()
    asyncio.run(parts.ask(2))


def test_an_authority_that_is_replaced_shuts_out_who_has_its_certificates(parts: Parts) -> None:
    folder = parts.certificates
    roots, old = (folder / "peer-ca.pem").read_bytes(), pair_in(folder, "peer")
    assert said(parts.grpc_port, roots, old) is grpc.StatusCode.OK
    before = parts.taken()
    for name in ("peer-ca.pem", "peer-ca.key", "peer.pem", "peer.key"):
        (parts.certificates / name).unlink()
    parts.init()
    wait_until(
        "all parts have it",
        lambda: all(now > then for now, then in zip(parts.taken(), before, strict=True)),
    )
    new_roots, new = (folder / "peer-ca.pem").read_bytes(), pair_in(folder, "peer")
    assert said(parts.grpc_port, new_roots, new) is grpc.StatusCode.OK
    for port in (parts.grpc_port, parts.agent_port):
        assert said(port, new_roots, old) is grpc.StatusCode.UNAVAILABLE
        # Nor does anybody who trusts the old one take a part for one.
        assert said(port, roots, new) is grpc.StatusCode.UNAVAILABLE
    parts.processes["scheduler"].send_signal(signal.SIGKILL)
    parts.processes["scheduler"].wait(10)
    parts.start_scheduler()
    parts.wait_ready()
    asyncio.run(parts.ask(1))


@pytest.mark.parametrize(
    ("part", "option"),
    [
        ("scheduler", "listen"),
        ("agent", "listen"),
        ("agent", "scheduler"),
        ("gateway", "scheduler"),
    ],
)
def test_without_certificates_parts_meet_on_this_machine_only(
    home: Path, part: str, option: str
) -> None:
    more = ("--memory", "1Gi") if part == "agent" else ()
    refused = Overbook(home / "refused").run("serve", part, *more, f"--{option}", "0.0.0.0:9")
    assert refused.code == 1
    assert refused.err.splitlines()[-1].startswith(
        f"Error: --{option} 0.0.0.0:9: others than this machine's users can reach it"
    )
    assert "--peer-cert, --peer-key and --peer-ca: `overbook tls init` makes" in refused.err


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _all_ready(client: ControlClient, count: int) -> bool:
    return yaml.safe_dump(client.list("model")).count("reason: ModelAvailable") == count
