"""The control API's client against a fake on a real socket: calls, answers, and every way to fail."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from overbook.client import control, http
from overbook.client.control import Applied, ControlClient, LogPage
from overbook.client.errors import ClientError, NotFound, NotRunning, Refused, TimedOut
from overbook.client.http import Reply
from tests.unit.client.fake_overbook import (
    FakeOverbook,
    audited,
    event,
    model,
    running,
    server,
    verdict,
)
from tests.unit.client.reading import asked, names_in


@pytest.fixture
def fake() -> Iterator[FakeOverbook]:
    with running() as found:
        yield found


@pytest.fixture
def client(fake: FakeOverbook) -> Iterator[ControlClient]:
    with ControlClient(fake.url, timeout=5) as found:
        yield found


def test_lists_and_gets(fake: FakeOverbook, client: ControlClient) -> None:
    fake.add(model("iris"), model("wine"), server("mlserver"))
    assert client.list("model") == (model("iris"), model("wine"))
    assert client.get("model", "wine") == model("wine")
    assert client.list("server") == (server("mlserver"),)
    assert client.version() == "9.8.7"


def test_describe_adds_verdict_and_events(fake: FakeOverbook, client: ControlClient) -> None:
    fake.add(model("iris"))
    assert client.describe("model", "iris") == {
        **model("iris"),
        "verdict": verdict("iris"),
        "events": [],
    }


def test_apply_answers_for_each_document(fake: FakeOverbook, client: ControlClient) -> None:
    fake.apply_errors["bad"] = "spec.memory: too much"
    fake.unplaced["lost"] = "no server offers it"
    documents = [model("iris"), model("bad"), model("lost")]
    assert client.apply(documents).results == (
        Applied("Model", "iris", 1, "created", ""),
        Applied("Model", "bad", 1, "failed", "spec.memory: too much"),
        Applied("Model", "lost", 1, "created", "no server offers it"),
    )
    assert fake.requests[-1] == ("POST", "/api/v1/apply", {"documents": documents})
    client.validate(documents)
    assert [path for _, path, _ in fake.requests] == ["/api/v1/apply", "/api/v1/validate"]


def test_deletes_and_acts(fake: FakeOverbook, client: ControlClient) -> None:
    fake.add(model("iris"))
    client.act("evict", "iris", timeout=2.5)
    assert fake.requests[-1] == ("POST", "/api/v1/models/iris/evict", {"timeout": 2.5})
    client.delete("model", "iris")
    assert fake.objects["models"] == {}


def test_events_after_and_of_one_model(fake: FakeOverbook, client: ControlClient) -> None:
    fake.events = [event(1, "iris"), event(2, "wine"), event(3, "iris")]
    page = client.events(after=1, model="iris")
    assert page.events == (event(3, "iris"),)
    assert page.last == 3
    client.events(after=3, wait=0.5)
    assert fake.requests[-1][1] == "/api/v1/events?after=3&wait=0.5"


def test_the_audit_log_is_asked_for_in_parts(fake: FakeOverbook, client: ControlClient) -> None:
    fake.audited = [audited(1, "iris"), audited(2, "wine")]
    assert client.audit().events == tuple(fake.audited)
    page = client.audit(after=1, since="2026-11-30T20:15:00+00:00", model="wine", wait=0.5)
    assert (page.events, page.last) == ((audited(2, "wine"),), 2)
    assert fake.requests[-1][1] == (
        "/api/v1/audit?after=1&since=2026-11-30T20%3A15%3A00%2B00%3A00&model=wine&wait=0.5"
    )
    assert client.audit(after=2).last == 2


def test_every_field_that_is_read_is_described(
    fake: FakeOverbook, client: ControlClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: set[str] = set()
    json = Reply.json
    monkeypatch.setattr(Reply, "json", lambda reply: asked(json(reply), names))
    fake.add(model("iris"))
    fake.events = [event(1, "iris")]
    client.apply([model("iris")])
    client.validate([model("iris")])
    client.events()
    client.audit()
    client.version()
    fake.add(server("mlserver"))
    fake.logs["mlserver/0"] = [["a line"]]
    page = client.log("mlserver", 0, after="x:1", lines=5, model="iris", wait=0.5)
    assert page == LogPage(("a line",), "life:7", "/state/mlserver-0/server.log", False)
    assert fake.requests[-1][1] == (
        "/api/v1/servers/mlserver/replicas/0/log?after=x%3A1&lines=5&model=iris&wait=0.5"
    )
    client.act("pin", "iris", timeout=1)
    client.delete("model", "iris")
    with pytest.raises(NotFound):
        client.get("model", "iris")
    assert names == names_in(control) | names_in(http)


def test_names_are_quoted_in_paths(fake: FakeOverbook, client: ControlClient) -> None:
    with pytest.raises(NotFound):
        client.get("model", "../servers/a b")
    assert fake.requests[-1][1] == "/api/v1/models/..%2Fservers%2Fa%20b"


def test_readiness_is_an_answer_not_an_error(fake: FakeOverbook, client: ControlClient) -> None:
    assert client.ready()
    fake.ready = False
    assert not client.ready()


def test_one_connection_serves_many_calls_and_a_closed_one_is_replaced(
    fake: FakeOverbook, client: ControlClient
) -> None:
    client.version()
    fake.close_after_next = True
    client.version()
    # Here the kept connection turns out to be closed.
    assert client.version() == "9.8.7"


def test_unknown_names_are_not_found(client: ControlClient) -> None:
    with pytest.raises(NotFound, match="model 'iris' is not registered"):
        client.get("model", "iris")


@pytest.mark.parametrize("status", [400, 409, 503])
def test_a_refusal_carries_status_and_reason(
    fake: FakeOverbook, client: ControlClient, status: int
) -> None:
    fake.refusals["iris"] = (status, "pinned models\nfill the budget")
    with pytest.raises(Refused, match=r"^pinned models fill the budget$") as refused:
        client.act("activate", "iris", timeout=1)
    assert refused.value.status == status


def test_nobody_there_says_where_and_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(NotRunning) as refused:
            ControlClient(url).version()
    assert str(refused.value) == (
        f"no Overbook answers at {url}; start one with `overbook up`, "
        "or name another with --api-url or OVERBOOK_API_URL"
    )


def test_a_silent_server_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = ControlClient(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.05)
        with pytest.raises(TimedOut, match=r"within 0\.05 s"):
            client.version()


def test_a_server_that_hangs_up_is_an_error_not_a_loop(
    fake: FakeOverbook, client: ControlClient
) -> None:
    with pytest.raises(ClientError, match="closed the connection without an answer"):
        client.get("model", "hang-up")
    assert len(fake.requests) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'{"results": []}', b"7"])
def test_another_program_behind_the_port_is_recognised(
    fake: FakeOverbook, client: ControlClient, body: bytes
) -> None:
    fake.raw["/api/v1/apply"] = (200, body)
    with pytest.raises(ClientError):
        client.apply([model("iris")])


def test_a_port_that_speaks_no_http() -> None:
    import threading

    with socket.create_server(("127.0.0.1", 0)) as other:

        def greet() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-other\r\n\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(ClientError, match="does not speak HTTP"):
            ControlClient(f"http://127.0.0.1:{other.getsockname()[1]}").version()
        thread.join()


def test_an_address_without_a_scheme_and_with_a_path(fake: FakeOverbook) -> None:
    fake.raw["/behind/api/v1/version"] = (200, b'{"version": "1"}')
    with ControlClient(f"{fake.url.removeprefix('http://')}/behind/") as client:
        assert client.version() == "1"
