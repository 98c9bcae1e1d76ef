"""Tokens while things fail, restart and change: never is there a moment in which nobody is asked."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.process import (
    Overbook,
    dump,
    free_ports,
    model_manifest,
    server_manifest,
    wait_until,
)
from tests.e2e.token_holders import Held
from tests.e2e.zoo import TrainedModel, train

BOSS, TEAM_A, TEAM_B = "boss", "team-a", "team-b"
CLIENTS = 64


@pytest.fixture(scope="module")
def models(home: Path) -> dict[str, TrainedModel]:
    return {
        name: train(home / "models", name, megabytes=0.1, seed=seed)
        for seed, name in enumerate(("team-a-x", "team-b-x"))
    }


@pytest.fixture(scope="module")
def held(home: Path, models: dict[str, TrainedModel]) -> Iterator[Held]:
    manifests = dump(
        home / "manifests.yaml",
        server_manifest("200Mi"),
        *(model_manifest(each.name, each.folder) for each in models.values()),
    )
    with Overbook(home / "faults", "-f", str(manifests)) as running:
        made = Held(running, models)
        made.make(BOSS, "--role", "admin")
        running.token = made.tokens[BOSS]
        made.make(TEAM_A, "--role", "infer", "--models", "team-a-*")
        made.make(TEAM_B, "--role", "infer", "--models", "team-b-*")
        yield made


@contextlib.contextmanager
def knocking(held: Held, who: str | None, model: str) -> Iterator[Counter[int]]:
    """Asks for the model and for the list of models, again and again; how often which status came. 0: no answer."""
    seen: Counter[int] = Counter()
    over = threading.Event()

    def knock() -> None:
        while not over.is_set():
            for ask in (
                partial(held.infer, who, model),
                partial(held.api, who, "GET", "/api/v1/tokens"),
            ):
                try:
                    seen[ask().status_code] += 1
                except httpx.HTTPError:
                    seen[0] += 1

    threads = [threading.Thread(target=knock) for _ in range(2)]
    for each in threads:
        each.start()
    try:
        yield seen
    finally:
        over.set()
        for each in threads:
            each.join()


def test_a_restart_with_manifests_needs_nobodys_token_and_asks_from_the_first_moment(
    held: Held,
) -> None:
    """`up` asks its own API while it starts; that was refused."""
    with knocking(held, None, "team-a-x") as strangers, knocking(held, TEAM_B, "team-a-x") as other:
        for _ in range(2):
            assert held.running.stop() == 0, held.running.log()
            held.running.token = ""
            held.running.start().wait_ready()
            held.running.token = held.tokens[BOSS]
            wait_until("its own", lambda: held.infer(TEAM_A, "team-a-x").status_code == 200)
    assert set(strangers) <= {0, 401, 503}, strangers
    assert set(other) <= {0, 401, 403, 503}, other
    assert strangers[401]
    assert held.running.run("get", "models").code == 0


def test_envoy_asks_as_soon_as_it_is_back(held: Held) -> None:
    assert held.running.process is not None
    held.infer(TEAM_A, "team-a-x").raise_for_status()
    with knocking(held, None, "team-a-x") as strangers, knocking(held, TEAM_B, "team-a-x") as other:
        for _ in range(3):
            before = strangers[401]
            (envoy,) = [
                each
                for each in psutil.Process(held.running.process.pid).children(recursive=True)
                if each.name() == "envoy"
            ]
            envoy.kill()
            wait_until("its own", lambda: _status(held, TEAM_A) == 200)
            wait_until("strangers", partial(_more, strangers, before))
    assert set(strangers) <= {0, 401, 503}, strangers
    assert set(other) <= {0, 401, 403, 503}, other


def _more(strangers: Counter[int], before: int) -> bool:
    return strangers[401] > before


def _status(held: Held, who: str | None) -> int:
    try:
        return held.infer(who, "team-a-x").status_code
    except httpx.HTTPError:
        return 0


def test_many_clients_while_tokens_come_and_go(held: Held) -> None:
    """Each client's answer is right by its own token, whatever happens to others'."""
    wrong: list[tuple[str | None, int]] = []
    over = threading.Event()
    body = held.request("team-a-x")

    def client(who: str | None, expected: int) -> None:
        url = f"http://127.0.0.1:{held.running.port}/v2/models/team-a-x/infer"
        with httpx.Client(headers=held.headers(who), timeout=120) as session:
            while not over.is_set():
                answer = session.post(url, json=body)
                if answer.status_code != expected:
                    wrong.append((who, answer.status_code))

    kinds = ((TEAM_A, 200), (TEAM_B, 403), (None, 401), (BOSS, 200))
    clients = [
        threading.Thread(target=client, args=kinds[number % len(kinds)])
        for number in range(CLIENTS)
    ]
    for each in clients:
        each.start()
    try:
        for number in range(8):
            name = f"short-{number}"
            held.make(name, "--role", "infer", "--models", "team-a-*")
            assert held.infer(name, "team-a-x").status_code == 200
            assert held.running.run("token", "revoke", name).code == 0
            assert held.infer(name, "team-a-x").status_code == 401
    finally:
        over.set()
        for each in clients:
            each.join()
    assert wrong == []


@pytest.mark.parametrize(
    "path",
    [
        *("/v2/models/team-a-x/../team-b-x/infer", "/v2/models/team-a-x/%2e%2e/team-b-x/infer"),
        *("/v2/models/team-a-x%2f..%2fteam-b-x/infer", "/v2/models/team-a-x%2F..%2Fteam-b-x"),
        *(
            "/v2/models/team%2db-x/infer",
            "/v2/models/team%2Db-x/ready",
            "/v2/models//team-b-x/infer",
        ),
        *(
            "//v2/models/team-b-x/infer",
            "/v2//models/team-b-x/infer",
            "/./v2/models/team-b-x/infer",
        ),
        *(
            "/%76%32/models/team-b-x/infer",
            "/v2/%6dodels/team-b-x/infer",
            "/V2/models/team-b-x/infer",
        ),
        *("/v2/models/team-a-x/infer/../../team-b-x/infer", "/v2/models/team-b-x;/infer"),
        *("/v2/models/team-b-x%00/infer", "/v2/models/team-b-x/versions/1/infer?x=/team-a-x/"),
        *("http://127.0.0.1/v2/models/team-b-x/infer", "/v2/health/../models/team-b-x/infer"),
        *("/v2/health/live/../../models/team-b-x/infer", "/v2/models/team-b-x/generate"),
        *("/v2/health/ready%2f..%2f..%2fmodels/team-b-x", "/v2/repository/models/team-b-x/load"),
        *("/v2/models/stats/../team-b-x", "/v2/models/team-b-x/trace/setting", "/own"),
        "/inference.GRPCInferenceService/ModelInfer",
    ],
)
@pytest.mark.parametrize("who", [None, TEAM_A])
def test_no_way_of_writing_a_path_leads_to_the_models_of_others(
    held: Held, who: str | None, path: str
) -> None:
    held.infer(TEAM_B, "team-b-x").raise_for_status()
    for extra in ("", "seldon-model: team-b-x\r\n", "content-length: 99999999999\r\n"):
        if "content-length" in extra and who is not None and not path.startswith("/v2/models/"):
            continue  # who may send a body is waited for
        body = b'{"inputs": []}'
        length = "" if "content-length" in extra else f"content-length: {len(body)}\r\n"
        shown = f"authorization: Bearer {held.tokens[who]}\r\n" if who is not None else ""
        with socket.create_connection(("127.0.0.1", held.running.port), timeout=30) as raw:
            head = f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{shown}{extra}{length}\r\n"
            raw.sendall(head.encode() + body)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := raw.recv(65536):
                    answer += piece
        status = int(answer.split(b" ", 2)[1])
        # 400 as well where the model itself could not have said it: of what is no request to any.
        assert status in (400, 401, 403, 404, 405, 413, 415), answer
        if status == 400 and who is None:
            assert b"Bad Request" in answer, answer
        assert b"outputs" not in answer
        assert b"inputs" not in answer


def test_a_port_for_others_is_not_opened_without_a_token(home: Path) -> None:
    ports = [str(each) for each in free_ports(4)]
    state = ("--state-dir", str(home / "closed"))
    everywhere = ("--host", "0.0.0.0")
    for command in (
        ("up", *everywhere, "--port", ports[0], "--api-port", ports[1], *state),
        (
            *("serve", "scheduler", *everywhere, "--api-port", ports[1], *state),
            *("--listen", f"127.0.0.1:{ports[2]}"),
        ),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "overbook", *command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert "overbook token create NAME --role admin" in done.stderr
        assert "--insecure" in done.stderr


def test_with_a_token_it_listens_everywhere_and_insecure_asks_nobody(home: Path) -> None:
    with Overbook(home / "wide") as running:
        made = running.run("token", "create", BOSS, "--role", "admin")
        assert made.code == 0, made.err
        running.token = made.out.strip()
        assert running.run("token", "revoke", BOSS).code == 0
        running.token = ""
        assert running.api.get("/api/v1/models").status_code == 200
        again = running.run("token", "create", BOSS, "--role", "admin")
        running.token = again.out.strip()
    with Overbook(home / "wide", "--host", "0.0.0.0") as running:
        running.token = again.out.strip()
        assert running.api.get("/api/v1/models").status_code == 401
        assert running.data.get("/v2").status_code == 401
        assert running.run("get", "servers").code == 0
        refused = running.run("token", "revoke", BOSS)
        assert refused.code == 1
        assert "last administrator" in refused.err
    with Overbook(home / "open", "--host", "0.0.0.0", "--insecure") as running:
        assert running.api.get("/api/v1/models").status_code == 200
        assert running.data.get("/v2").status_code == 200


def test_parts_apart_ask_with_the_scheduler_gone_and_a_gateway_that_knows_nobody_lets_nobody_in(
    home: Path, models: dict[str, TrainedModel]
) -> None:
    port, api_port, grpc_port, agent_port = free_ports(4)
    state = ("--state-dir", str(home / "apart"))
    scheduler = f"127.0.0.1:{grpc_port}"
    processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(part: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "overbook", "serve", part, *state, *arguments]
        with (home / f"apart-{part}.log").open("ab") as log:
            processes[part] = subprocess.Popen(command, stdout=log, stderr=log)

    def start_scheduler() -> None:
        start("scheduler", "--api-port", str(api_port), "--listen", scheduler)
        wait_until("the API", lambda: _answers(f"http://127.0.0.1:{api_port}/healthz"))

    def start_gateway() -> None:
        start("gateway", "--scheduler", scheduler, "--port", str(port), "--host", "0.0.0.0")
        wait_until("the gateway", lambda: _answers(f"http://127.0.0.1:{port}/v2/health/live"))

    running = Overbook(home / "apart-cli")
    running.port, running.api_port = port, api_port
    held = Held(running, models)
    try:
        start_scheduler()
        # It listens where others can connect: before there is a token, nobody has one.
        start_gateway()
        wait_until("nobody", lambda: held.infer(None, "team-a-x").status_code == 401)
        held.make(BOSS, "--role", "admin")
        running.token = held.tokens[BOSS]
        held.make(TEAM_A, "--role", "infer", "--models", "team-a-*")
        applied = running.apply(
            server_manifest("200Mi"),
            *(model_manifest(each.name, each.folder) for each in models.values()),
            wait=False,
        )
        assert applied.code == 0, applied.err
        start(
            "agent",
            *("--server", "mlserver", "--memory", "200Mi", "--scheduler", scheduler),
            *("--listen", f"127.0.0.1:{agent_port}"),
        )
        wait_until("its own", lambda: held.infer(TEAM_A, "team-a-x").status_code == 200)
        assert held.infer(None, "team-a-x").status_code == 401
        assert held.infer(TEAM_A, "team-b-x").status_code == 403

        processes["scheduler"].send_signal(signal.SIGKILL)
        processes["scheduler"].wait(10)
        assert held.infer(TEAM_A, "team-a-x").status_code == 200
        assert held.infer(None, "team-a-x").status_code == 401
        processes["gateway"].send_signal(signal.SIGTERM)
        processes["gateway"].wait(30)
        start_gateway()
        for who in (None, TEAM_A, BOSS):
            answer = held.infer(who, "team-a-x")
            assert answer.status_code == 503
            assert "has not heard from the scheduler yet" in answer.text
        start_scheduler()
        wait_until("its own", lambda: held.infer(TEAM_A, "team-a-x").status_code == 200)
        assert held.infer(None, "team-a-x").status_code == 401
        assert running.run("token", "revoke", TEAM_A).code == 0
        assert held.infer(TEAM_A, "team-a-x").status_code == 401
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        for process in processes.values():
            process.wait(30)
        running.api.close()
        running.data.close()


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, timeout=5).status_code == 200
    return False


def test_an_older_state_folder_is_taken_over(home: Path) -> None:
    """A store of a version that knew no tokens: nobody is asked until there is one."""
    with Overbook(home / "older"):
        pass
    path = next((home / "older").rglob("state.db"))
    with contextlib.closing(sqlite3.connect(path)) as store, store:
        store.execute("DROP TABLE tokens")
        store.execute("PRAGMA user_version = 4")
    os.sync()
    with Overbook(home / "older") as again:
        assert again.api.get("/api/v1/models").status_code == 200
        assert again.run("token", "list").code == 0
        assert again.run("token", "create", BOSS, "--role", "admin").code == 0
        assert again.api.get("/api/v1/models").status_code == 401
