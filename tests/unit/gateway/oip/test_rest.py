"""The REST endpoints: statuses, bodies and errors as unmodified clients expect them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

import overbook
from overbook.gateway.oip.configuration import Configurations
from overbook.gateway.oip.errors import NotAvailable
from overbook.gateway.oip.kept import Kept
from overbook.gateway.oip.passed_on import PassedOn
from overbook.gateway.oip.passed_rest import allowed_routes
from overbook.gateway.oip.ports import ServerAddress
from overbook.gateway.oip.repository import RepositoryControl
from overbook.gateway.oip.rest import build_app
from overbook.gateway.oip.statistics import Statistics
from overbook.wire.limits import MAX_OWN_BODY
from tests.unit.gateway.oip.catalogue import (
    FakeAllowed,
    FakeCatalogue,
    FakeResidency,
    answers_of,
    example,
)


@pytest.fixture
def catalogue() -> FakeCatalogue:
    return example()


@pytest.fixture
def allowed() -> FakeAllowed:
    return FakeAllowed()


@pytest.fixture
def residency() -> FakeResidency:
    return FakeResidency()


@pytest.fixture
async def client(
    catalogue: FakeCatalogue, allowed: FakeAllowed, residency: FakeResidency
) -> AsyncIterator[httpx.AsyncClient]:
    answers, ports = answers_of(catalogue, allowed), (allowed, residency)
    routes = allowed_routes(PassedOn(answers, *ports, Kept()), RepositoryControl(answers, *ports))
    configurations = Configurations(answers, catalogue.configuration, catalogue.load)
    app = build_app(answers, Statistics(answers, catalogue), configurations, routes)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://overbook") as client:
        yield client


async def test_server_endpoints(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    assert (await client.get("/v2/health/ready")).json() == {"ready": True}
    for path in ("/v2", "/v2/"):
        answer = await client.get(path)
        assert answer.json() == {
            "name": "overbook",
            "version": overbook.__version__,
            "extensions": ["binary_tensor_data"],
        }


@pytest.mark.parametrize("suffix", ["", "/versions/1"])
async def test_metadata_comes_from_the_source_under_the_asked_name(
    client: httpx.AsyncClient, suffix: str
) -> None:
    answer = await client.get(f"/v2/models/iris{suffix}")
    assert answer.status_code == 200
    assert answer.json()["name"] == "iris"
    assert answer.json()["inputs"][0]["shape"] == [-1, 4]


async def test_metadata_that_nobody_can_tell_is_503_with_the_reason(
    client: httpx.AsyncClient,
) -> None:
    silent = await client.get("/v2/models/wine")
    assert silent.status_code == 503
    assert "none of its server replicas answered" in silent.json()["error"]
    unplaced = await client.get("/v2/models/huge")
    assert unplaced.status_code == 503
    assert "largest budget" in unplaced.json()["error"]


async def test_a_registered_model_is_ready_without_asking_any_server(
    client: httpx.AsyncClient, catalogue: FakeCatalogue
) -> None:
    answer = await client.get("/v2/models/wine/ready")
    assert answer.status_code == 200
    assert answer.json() == {"name": "wine", "ready": True}
    assert catalogue.asked == []


async def test_an_unplaced_model_is_not_ready_and_says_why(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v2/models/huge/ready")
    assert answer.status_code == 503
    assert answer.json() == {
        "name": "huge",
        "ready": False,
        "error": "needs 9 GiB, the largest budget is 2 GiB",
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/models/nobody"),
        ("GET", "/v2/models/nobody/ready"),
        ("GET", "/v2/models/nobody/stats"),
        ("GET", "/v2/models/nobody/trace/setting"),
        ("POST", "/v2/repository/models/nobody/load"),
    ],
)
async def test_unknown_models_are_404_in_the_protocols_form(
    client: httpx.AsyncClient, catalogue: FakeCatalogue, method: str, path: str
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == 404
    assert "is not registered" in answer.json()["error"]
    assert catalogue.asked == []


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_index_lists_every_model_sorted(client: httpx.AsyncClient, method: str) -> None:
    answer = await client.request(method, "/v2/repository/index")
    assert answer.json() == [
        {
            "name": "huge",
            "state": "UNAVAILABLE",
            "reason": "needs 9 GiB, the largest budget is 2 GiB",
        },
        {"name": "iris", "state": "READY", "reason": ""},
        {"name": "wine", "state": "READY", "reason": ""},
    ]


async def test_the_index_of_ready_models(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v2/repository/index", json={"ready": True})
    assert [item["name"] for item in answer.json()] == ["iris", "wine"]
    everything = await client.post("/v2/repository/index", json={})
    assert len(everything.json()) == 3


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"ready": 1}', b"[" * 50_000, b" " * (MAX_OWN_BODY + 1)]
)
async def test_a_bad_index_body_is_400(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/v2/repository/index", content=body)
    assert answer.status_code == 400
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(("verb", "command"), [("load", "activate"), ("unload", "evict")])
async def test_load_and_unload_are_refused_with_the_way_to_do_it(
    client: httpx.AsyncClient, verb: str, command: str
) -> None:
    answer = await client.post(f"/v2/repository/models/iris/{verb}")
    assert answer.status_code == 403
    assert f"overbook {command} iris" in answer.json()["error"]
    assert "`allow: [repository]` in the Server" in answer.json()["error"]


@pytest.mark.parametrize("verb", ["load", "unload"])
@pytest.mark.parametrize("folder", ["", "/mine"])
async def test_load_and_unload_are_done_where_the_server_allows_it(
    client: httpx.AsyncClient,
    allowed: FakeAllowed,
    residency: FakeResidency,
    verb: str,
    folder: str,
) -> None:
    path = f"/v2/repository{folder}/models/iris/{verb}"
    allowed.allowing["repository"] = [None]
    answer = await client.post(path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert residency.calls == [(verb, "iris")]
    residency.refusal = NotAvailable("model 'iris': bad pickle")
    answer = await client.post(path, json={"parameters": {}})
    assert (answer.status_code, answer.json()) == (503, {"error": "model 'iris': bad pickle"})
    allowed.forbids["iris", "repository"] = ["mlserver"]
    answer = await client.post(path)
    assert answer.status_code == 403
    assert "is on Server mlserver, which does not allow it" in answer.json()["error"]
    unplaced = await client.post(path.replace("iris", "huge"))
    assert unplaced.status_code == 503
    assert "largest budget" in unplaced.json()["error"]


@pytest.mark.parametrize(
    ("verb", "body", "status", "says"),
    [
        ("load", b'{"parameters": {"config": "{}"}}', 403, "with 'config' refused: its config"),
        ("load", b'{"parameters": {"file:1/m": "", "config": ""}}', 403, "'config', 'file:1/m'"),
        ("load", b" " * (MAX_OWN_BODY + 1), 400, "larger than"),
        ("load", b"[", 400, "not JSON"),
        ("unload", b'{"parameters": []}', 400, "must be an object"),
        ("unload", b'{"parameters": {"now": true}}', 400, "'now' is not known; expected unload_"),
        ("unload", b'{"parameters": {"unload_dependents": true}}', 200, ""),
    ],
)
async def test_what_a_load_and_an_unload_may_bear(
    client: httpx.AsyncClient,
    allowed: FakeAllowed,
    residency: FakeResidency,
    verb: str,
    body: bytes,
    status: int,
    says: str,
) -> None:
    allowed.allowing["repository"] = [None]
    answer = await client.post(f"/v2/repository/models/iris/{verb}", content=body)
    assert answer.status_code == status
    assert says in answer.text
    assert bool(residency.calls) is (status == 200)


@pytest.mark.parametrize(
    ("method", "path", "word"),
    [
        ("POST", "/v2/systemsharedmemory/region/a/register", "sharedMemory"),
        ("POST", "/v2/cudasharedmemory/region/a/register", "sharedMemory"),
        ("GET", "/v2/trace/setting", "trace"),
        ("POST", "/v2/trace/setting", "trace"),
        ("POST", "/v2/models/iris/trace/setting", "trace"),
        ("GET", "/v2/models/iris/versions/1/trace/setting", "trace"),
        ("GET", "/v2/logging", "log"),
        ("POST", "/v2/logging", "log"),
    ],
)
async def test_what_no_server_allows_is_refused_with_the_way_to_allow_it(
    client: httpx.AsyncClient, allowed: FakeAllowed, method: str, path: str, word: str
) -> None:
    allowed.allowing = {"repository": [None]}
    answer = await client.request(method, path, json={})
    assert answer.status_code == 403
    assert f"`allow: [{word}]` in the Server" in answer.json()["error"]
    if "/models/" not in path:
        allowed.allowing = {word: [None]}
        answer = await client.request(method, path, json={})
        assert answer.status_code == 503
        assert "none of the servers that allow it" in answer.json()["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/v2/systemsharedmemory/region/%2e%2e/register",
        "/v2/models/iris/versions/%2E%2E/trace/setting",
        "/v2/systemsharedmemory%2Fregion%2Fa%2F..%2Fregister",
    ],
)
async def test_a_path_that_leads_elsewhere_is_no_call(
    client: httpx.AsyncClient, allowed: FakeAllowed, path: str
) -> None:
    nobody = ServerAddress("127.0.0.1:1", "127.0.0.1:1")
    allowed.allowing = {"sharedMemory": [nobody], "trace": [nobody]}
    answer = await client.post(path, json={})
    assert answer.status_code == 404
    assert "no such endpoint" in answer.json()["error"]


async def test_where_nothing_can_be_registered_there_is_nothing(client: httpx.AsyncClient) -> None:
    for kind in ("system", "cuda"):
        assert (await client.get(f"/v2/{kind}sharedmemory/status")).json() == []
        named = await client.get(f"/v2/{kind}sharedmemory/region/a/status")
        assert (named.status_code, named.json()) == (
            404,
            {"error": f"Unable to find {kind} shared memory region: 'a'"},
        )
        for path in ("unregister", "region/a/unregister"):
            ended = await client.post(f"/v2/{kind}sharedmemory/{path}")
            assert (ended.status_code, ended.content) == (200, b"")


async def test_what_is_not_there_and_what_is_not_allowed(client: httpx.AsyncClient) -> None:
    missing = await client.get("/v2/models/iris/nonsense")
    assert (missing.status_code, missing.json()["error"]) == (
        404,
        "no such endpoint: /v2/models/iris/nonsense",
    )
    wrong = await client.delete("/v2/models/iris")
    assert wrong.status_code == 405
    assert "GET" in wrong.headers["allow"]
    assert wrong.json() == {"error": "method DELETE is not allowed for /v2/models/iris"}
    head = await client.head("/v2/health/live")
    assert (head.status_code, head.content) == (200, b"")


async def test_a_version_that_the_model_has_not_is_unknown(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v2/models/iris/versions/1/ready")).status_code == 200
    for path in ("/v2/models/iris/versions/9/ready", "/v2/models/iris/versions/9"):
        answer = await client.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"] == "model 'iris' has no version '9'; it has 1"


async def test_a_model_without_versions_has_none_by_any_name(
    client: httpx.AsyncClient, catalogue: FakeCatalogue
) -> None:
    catalogue.metadata_of["wine"] = {"name": "wine", "versions": []}
    answer = await client.get("/v2/models/wine/versions/1/ready")
    assert answer.status_code == 404
    assert "it has no versions; leave it out" in answer.json()["error"]
    assert (await client.get("/v2/models/wine/ready")).status_code == 200


async def test_ready_is_who_has_a_server_that_can_serve(
    client: httpx.AsyncClient, catalogue: FakeCatalogue
) -> None:
    catalogue.stopped = {"b/0": "its inference server is not up"}
    catalogue.started = ["a/0"]
    answer = await client.get("/v2/health/ready")
    assert answer.status_code == 200
    assert answer.json() == {
        "ready": True,
        "cannotServe": {"b/0": "its inference server is not up"},
    }
    catalogue.started = []
    answer = await client.get("/v2/health/ready")
    assert answer.status_code == 503
    assert answer.json()["ready"] is False
    assert (await client.get("/v2/health/live")).status_code == 200
