"""A secret is in the memory of those who need it, and nowhere else: files, logs, processes, answers, all is searched.

The value is recognisable in any form. That it is in memory shows that it was there to be leaked.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from overbook.artifacts.secrets.remote import RemoteSecret
from tests.e2e.process import Overbook, free_ports, model_manifest, server_manifest, wait_until
from tests.e2e.searching import Search, recognisable
from tests.e2e.zoo import zoo

JSON = {"content-type": "application/json"}
# Everything that gRPC can say of what it does.
LOUD = {"GRPC_VERBOSITY": "debug", "GRPC_TRACE": "all"}


def remote(value: str) -> str:
    parameters = {"secret_access_key": value, "provider": "Minio"}
    return json.dumps({"name": "s3", "type": "s3", "parameters": parameters}, ensure_ascii=False)


def bad_bodies(value: str) -> list[bytes]:
    """What may be sent by mistake, each with the value in it."""
    good = json.loads(remote(value))
    wrong: list[Any] = [
        value,
        [value],
        {"text": value},
        {"text": [value]},
        {"text": f"name: {value}\ntype: [s3"},
        {"text": f"password: {value}"},
        {"text": f"{value}: x"},
        {**good, "more": value},
        {**good, "type": value},
        {**good, "name": [value]},
        {**good, "parameters": value},
        {**good, "parameters": {value: "x"}},
        {**good, "parameters": {"key": {"inner": value}}},
    ]
    plain = [json.dumps(each, ensure_ascii=False).encode() for each in wrong]
    return [*plain, remote(value).encode()[:-1], value.encode() + b"\xff", value.encode() * 40_000]


def test_searching_finds_each_form(tmp_path: Path) -> None:
    value = recognisable()
    for number, text in enumerate(
        [
            *(value, f"x={value}&", value.encode().hex(), json.dumps({"a": value})),
            *(repr({"a": value.encode()}), httpx.QueryParams({"q": value}).__str__()),
            *(f"{httpx.BasicAuth(user, value)._auth_header}" for user in ("u", "us", "use")),
        ]
    ):
        (tmp_path / str(number)).write_text(text)
        search = Search(value)
        assert search.folder(tmp_path) == number + 1
        assert len(search.found) == number + 1, text
    assert Search(value).holds(os.getpid())


class Loud(Overbook):
    """With all that can be logged, temporary files below the folder that is searched, and a variable with a secret."""

    variable = ""

    @property
    def environment(self) -> dict[str, str]:
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        more = {"TMPDIR": str(self.folder / "tmp"), "OVERBOOK_SECRET_FROM_VARIABLE": self.variable}
        return super().environment | LOUD | more


def everything(running: Overbook, value: str) -> Iterator[str]:
    """What is answered to everything that can be done with a secret, well or badly."""
    api, url = running.api, "/api/v1/secrets/minio"
    for body in bad_bodies(value):
        for path in (url, "/api/v1/secrets/other.one"):
            answer = api.put(path, content=body, headers=JSON)
            assert answer.status_code in (400, 413), (body[:40], answer.text)
            yield answer.text
    for stdin in (value, f"name: {value}", f"a: [{value}"):
        done = running.run("secret", "set", "minio", "--from", "-", stdin=stdin)
        assert done.code == 1
        yield done.out + done.err
    yield api.put("/api/v1/secrets/json", content=remote(value).encode(), headers=JSON).text
    done = running.run("secret", "set", "minio", "--from", "-", stdin=remote(value))
    assert done.out == "secret/minio set\n"
    yield done.out + done.err
    away = model_manifest("away", "s3://bucket/m", secretName="minio")
    done = running.apply(away, wait=False)
    yield done.out + done.err
    for command in (
        *(("secret", "list"), ("secret", "list", "-o", "json"), ("secret", "list", "-o", "yaml")),
        *(("get", "models", "-o", "wide"), ("get", "models", "-o", "json"), ("get", "servers")),
        *(("describe", "model", "iris"), ("describe", "server", "mlserver"), ("events",)),
        *(("logs", "mlserver"), ("doctor",), ("secret", "delete", "json", "nobody")),
    ):
        done = running.run(*command)
        yield done.out + done.err
    for path in (
        "/api/v1/secrets",
        "/api/v1/models",
        "/api/v1/events",
        "/metrics",
        "/openapi.json",
    ):
        yield api.get(path).text


def test_overbook_up(home: Path) -> None:
    given, in_folder, in_variable = (Search(recognisable()) for _ in range(3))
    (model,) = zoo(home / "zoo", 1)
    secrets = home / "secrets"
    secrets.mkdir()
    (secrets / "in-folder").write_text(remote(in_folder.value))
    folder = home / "up"
    running = Loud(folder, "--secrets", str(secrets))
    running.variable = remote(in_variable.value)

    def searched(*texts: str) -> None:
        assert running.process is not None
        pid = running.process.pid
        for search in (given, in_folder, in_variable):
            search.text("an answer", *texts)
            assert search.folder(folder) > 5
            # Whoever starts Overbook may give it a variable; whom it starts does not get it.
            assert search.processes(pid, own_environment=search is not in_variable) > 2
            assert search.found == []

    with running:
        iris = model_manifest("iris", model.folder, secretName="minio", memory="64Mi")
        assert running.apply(server_manifest("256Mi"), iris).code == 0
        searched(*everything(running, given.value))
        pid = running.process.pid if running.process else 0
        assert given.holds(pid)
        assert in_variable.holds(pid)
    # What a kill leaves behind, journal included, opens again.
    running = Loud(folder, "--secrets", str(secrets))
    running.variable = remote(in_variable.value)
    running.start().wait_ready()
    assert running.process is not None
    running.api.put("/api/v1/secrets/last", content=remote(given.value).encode(), headers=JSON)
    running.process.send_signal(signal.SIGKILL)
    running.process.wait(10)
    assert given.folder(folder) > 5
    with running:
        listed = running.api.get("/api/v1/secrets")
        assert [(each["name"], each["problem"]) for each in listed.json()] == [
            ("last", None),
            ("minio", None),
        ]
        searched(listed.text)
    assert given.folder(folder) > 5
    assert (given.found, in_folder.found, in_variable.found) == ([], [], [])


@contextmanager
def part(folder: Path, name: str, *arguments: str) -> Iterator[int]:
    """One part as a process of its own; its id."""
    command = [sys.executable, "-m", "overbook", "serve", name, *arguments]
    environment = os.environ | LOUD | {"TMPDIR": str(folder)}
    state = ("--state-dir", str(folder / "state"))
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen([*command, *state], env=environment, stdout=log, stderr=log)
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_parts_that_tell_each_other_over_a_socket(home: Path) -> None:
    search, folder = Search(recognisable()), home / "parts"
    folder.mkdir()
    api_port, grpc_port, agent_port = free_ports(3)
    target = f"127.0.0.1:{grpc_port}"
    of_scheduler = ("--api-port", str(api_port), "--listen", target)
    of_agent = ("--memory", "256Mi", "--scheduler", target, "--listen", f"127.0.0.1:{agent_port}")
    with ExitStack() as stack:
        api = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{api_port}/api/v1"))
        scheduler = stack.enter_context(part(folder, "scheduler", *of_scheduler))
        wait_until("the API answers", lambda: _answers(api))
        api.post("/apply", json={"documents": [server_manifest("256Mi")]}).raise_for_status()
        agent = stack.enter_context(part(folder, "agent", *of_agent))
        sent = api.put("/secrets/minio", content=remote(search.value).encode(), headers=JSON)
        sent.raise_for_status()
        wait_until("the agent has it", lambda: search.holds(agent))
        assert search.holds(scheduler)
        assert search.folder(folder) > 5
        assert search.processes(scheduler, agent) > 1
    assert search.folder(folder) > 5
    assert "grpc" in (folder / "agent.log").read_text().lower(), (
        "gRPC told nothing: nothing was searched"
    )
    assert search.found == []


def test_no_record_of_it_can_be_written_out() -> None:
    value = recognisable()
    told = RemoteSecret("minio", "s3", "s3", {"key": value})
    search = Search(value)
    search.text("its own words", repr(told), str(told), f"{told!a}", repr(ValueError(told)))
    assert search.found == []


def _answers(api: httpx.Client) -> bool:
    try:
        return api.get("/version").status_code == 200
    except httpx.HTTPError:
        return False
