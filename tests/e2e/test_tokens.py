"""Tokens from outside: who shows none, or the wrong one, gets nothing; clients as they are get what theirs grants."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
import tritonclient.grpc
import tritonclient.http

from tests.e2e.process import Overbook, model_manifest, oip_error, server_manifest, wait_until
from tests.e2e.token_holders import Held
from tests.e2e.zoo import train

# Answers each message of a stream, and tells what it heard of its client.
_STREAMING = """
import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

class Streaming(MLModel):
    async def load(self):
        return True

    async def predict(self, payload):
        x = NumpyCodec.decode_input(payload.inputs[0])
        heard = getattr(payload.parameters, "headers", None) or {}
        heard = [float(name.lower() == "authorization") for name in heard] or [-1.0]
        outputs = [
            NumpyCodec.encode_output("y", x), NumpyCodec.encode_output("heard", np.array(heard))
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)

    async def predict_stream(self, payloads):
        async for payload in payloads:
            yield await self.predict(payload)
"""
ADMIN, TEAM_A, TEAM_B, VIEWER, OPERATOR = "boss", "team-a", "team-b", "viewer", "operator"


@pytest.fixture(scope="module")
def held(home: Path) -> Iterator[Held]:
    models = {
        name: train(home / "models", name, megabytes=0.1, seed=seed)
        for seed, name in enumerate(("team-a-x", "team-b-x"))
    }
    streaming = home / "streaming"
    streaming.mkdir()
    settings = {"name": "x", "implementation": "streams.Streaming"}
    (streaming / "model-settings.json").write_text(json.dumps(settings))
    (streaming / "streams.py").write_text(_STREAMING)
    with Overbook(home / "state") as running:
        applied = running.apply(
            server_manifest("200Mi"),
            model_manifest("team-a-stream", streaming, requirements=["python"]),
            *(model_manifest(each.name, each.folder) for each in models.values()),
        )
        assert applied.code == 0, applied.err
        made = Held(running, models)
        refused = running.run("token", "create", "early", "--role", "viewer")
        assert refused.code == 1
        assert "--role admin" in refused.err
        made.make(ADMIN, "--role", "admin")
        # From now on the command line has to show it as well.
        assert running.run("get", "models").code == 1
        running.token = made.tokens[ADMIN]
        running.api.headers.update(made.headers(ADMIN))
        made.make(TEAM_A, "--role", "infer", "--models", "team-a-*")
        made.make(TEAM_B, "--role", "infer", "--models", "team-b-*")
        made.make(VIEWER, "--role", "viewer")
        made.make(OPERATOR, "--role", "operator")
        yield made


def test_hot_and_cold_models_answer_whose_token_grants_them(held: Held) -> None:
    for model, who in (("team-a-x", TEAM_A), ("team-b-x", TEAM_B)):
        for _ in range(30):
            answer = held.infer(who, model).raise_for_status().json()
            assert answer["outputs"][0]["data"] == pytest.approx(
                held.models[model].expected.tolist()
            )
        evicted = held.running.run("evict", model)
        assert evicted.code == 0, evicted.err
        assert held.infer(who, model).status_code == 200


@pytest.mark.parametrize("who", [None, VIEWER])
def test_who_may_use_no_model_gets_one_answer_to_everything(held: Held, who: str | None) -> None:
    for method, path in (
        ("POST", "/v2/models/team-a-x/infer"),
        ("POST", "/v2/models/nothing/infer"),
        ("GET", "/v2/models/team-a-x"),
        ("GET", "/v2/models/team-a-x/ready"),
        ("GET", "/v2/models/stats"),
        ("POST", "/v2/repository/index"),
        ("GET", "/v2"),
        ("POST", "/v2/repository/models/team-a-x/unload"),
    ):
        answer = held.call(who, method, path, json={} if method == "POST" else None)
        assert answer.status_code == 401, (path, answer.text)
        assert "Bearer TOKEN" in oip_error(answer)
        assert answer.headers["www-authenticate"] == "Bearer"


def test_probes_need_no_token(held: Held) -> None:
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert held.call(None, "GET", path).status_code == 200
    for path in ("/healthz", "/readyz"):
        assert held.api(None, "GET", path).status_code == 200


def test_a_team_neither_uses_nor_sees_the_models_of_another(held: Held) -> None:
    for model in ("team-b-x", "team-b-none"):
        answer = held.infer(TEAM_A, model)
        assert answer.status_code == 403
        assert "may not use this model" in oip_error(answer)
        for path in ("", "/ready", "/versions/1/ready", "/config", "/stats"):
            assert held.call(TEAM_A, "GET", f"/v2/models/{model}{path}").status_code == 403
        for verb in ("load", "unload"):
            path = f"/v2/repository/models/{model}/{verb}"
            assert held.call(TEAM_A, "POST", path, json={}).status_code in (403, 404)
    listed = held.call(TEAM_A, "POST", "/v2/repository/index", json={}).json()
    assert [each["name"] for each in listed] == ["team-a-stream", "team-a-x"]
    everything = held.call(ADMIN, "POST", "/v2/repository/index", json={}).json()
    assert [each["name"] for each in everything] == [
        *("team-a-stream", "team-a-x"),
        "team-b-x",
    ]


def test_the_header_names_no_other_model_than_the_path(held: Held) -> None:
    headers = held.headers(TEAM_A) | {"seldon-model": "team-b-x"}
    for path in ("/v2/models/team-a-x/infer", "/own", "/v2/models/team-b-x/infer"):
        url = f"http://127.0.0.1:{held.running.port}{path}"
        answer = httpx.post(url, headers=headers, json=held.request("team-a-x"))
        assert answer.status_code in (400, 403), (path, answer.text)


def test_two_tokens_in_one_request_are_none(held: Held) -> None:
    url = f"http://127.0.0.1:{held.running.port}/v2/models/team-b-x/infer"
    headers = [
        ("authorization", f"Bearer {held.tokens[TEAM_A]}"),
        ("authorization", f"Bearer {held.tokens[TEAM_B]}"),
    ]
    assert httpx.post(url, headers=headers, json=held.request("team-b-x")).status_code == 401


def tensors(held: Held, kind: type, model: str) -> list[object]:
    inputs = held.models[model].inputs
    made = kind("x", list(inputs.shape), "FP64")
    made.set_data_from_numpy(inputs)
    return [made]


def test_tritonclient_over_grpc(held: Held) -> None:
    address = f"127.0.0.1:{held.running.port}"
    with tritonclient.grpc.InferenceServerClient(address) as client:
        assert client.is_server_live()
        mine = tensors(held, tritonclient.grpc.InferInput, "team-a-x")

        def status(act: Callable[[], object]) -> str:
            with pytest.raises(tritonclient.grpc.InferenceServerException) as refused:
                act()
            return str(refused.value.status())

        headers = held.headers(TEAM_A)
        for packed in (None, "gzip"):
            client.infer("team-a-x", mine, headers=headers, compression_algorithm=packed)
            said = status(partial(client.infer, "team-a-x", mine, compression_algorithm=packed))
            assert said == "StatusCode.UNAUTHENTICATED"
            other = partial(client.infer, "team-b-x", mine, headers=headers)
            said = status(partial(other, compression_algorithm=packed))
            assert said in ("StatusCode.PERMISSION_DENIED", "StatusCode.NOT_FOUND")
        assert status(client.get_server_metadata) == "StatusCode.UNAUTHENTICATED"
        index = client.get_model_repository_index(headers=headers, as_json=True)
        assert [each["name"] for each in index["models"]] == ["team-a-stream", "team-a-x"]
        assert client.is_model_ready("team-a-x", headers=headers)
        for model in ("team-b-x", "team-b-none"):
            said = status(partial(client.get_model_metadata, model, headers=headers))
            assert said == "StatusCode.NOT_FOUND"


def test_tritonclient_over_rest(held: Held) -> None:
    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{held.running.port}") as client:
        mine = tensors(held, tritonclient.http.InferInput, "team-a-x")
        client.infer("team-a-x", mine, headers=held.headers(TEAM_A))
        with pytest.raises(tritonclient.http.InferenceServerException, match="Bearer TOKEN"):
            client.infer("team-a-x", mine)


@pytest.mark.parametrize(
    ("who", "method", "path", "status"),
    [
        (None, "GET", "/api/v1/models", 401),
        (None, "GET", "/metrics", 401),
        (TEAM_A, "GET", "/api/v1/models", 403),
        (TEAM_A, "POST", "/api/v1/models/team-a-x/evict", 403),
        (VIEWER, "GET", "/api/v1/models", 200),
        (VIEWER, "GET", "/metrics", 200),
        (VIEWER, "POST", "/api/v1/models/team-a-x/evict", 403),
        (VIEWER, "POST", "/api/v1/apply", 403),
        (VIEWER, "GET", "/api/v1/tokens", 403),
        (OPERATOR, "POST", "/api/v1/models/team-a-x/activate", 200),
        (OPERATOR, "PUT", "/api/v1/secrets/x", 403),
        (OPERATOR, "POST", "/api/v1/tokens", 403),
        (OPERATOR, "DELETE", "/api/v1/tokens/boss", 403),
    ],
)
def test_the_control_api(held: Held, who: str | None, method: str, path: str, status: int) -> None:
    has_body = method in ("POST", "PUT") and not path.endswith("vate")
    answer = held.api(who, method, path, json={} if has_body else None)
    assert answer.status_code == status, answer.text
    if status in (401, 403):
        assert "authorization: " in answer.json()["error"]


def test_a_revoked_token_is_void_at_once_everywhere_and_others_notice_nothing(held: Held) -> None:
    wrong: list[str] = []
    over = threading.Event()

    def steady() -> None:
        with httpx.Client(headers=held.headers(TEAM_B), timeout=60) as client:
            url = f"http://127.0.0.1:{held.running.port}/v2/models/team-b-x/infer"
            while not over.is_set():
                answer = client.post(url, json=held.request("team-b-x"))
                if answer.status_code != 200:
                    wrong.append(answer.text)

    beside = threading.Thread(target=steady)
    beside.start()
    try:
        for number in range(10):
            name = f"short-{number}"
            held.make(name, "--role", "infer", "--models", "team-a-*")
            assert held.infer(name, "team-a-x").status_code == 200
            revoked = held.running.run("token", "revoke", name)
            assert revoked.code == 0, revoked.err
            assert held.infer(name, "team-a-x").status_code == 401
            assert held.api(name, "GET", "/api/v1/models").status_code == 401
    finally:
        over.set()
        beside.join()
    assert wrong == []


def test_an_open_stream_of_a_revoked_token_asks_no_more(held: Held) -> None:
    held.make("streaming", "--role", "infer", "--models", "team-a-*")
    answers: list[object] = []
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{held.running.port}") as client:
        client.start_stream(
            lambda result, error: answers.append(error or result), headers=held.headers("streaming")
        )
        mine = tensors(held, tritonclient.grpc.InferInput, "team-a-x")
        client.async_stream_infer("team-a-stream", mine)
        wait_until("an answer", lambda: answers)
        assert not isinstance(answers[0], tritonclient.grpc.InferenceServerException), answers
        assert held.running.run("token", "revoke", "streaming").code == 0
        client.async_stream_infer("team-a-stream", mine)
        wait_until("another", lambda: len(answers) > 1)
        assert isinstance(answers[1], tritonclient.grpc.InferenceServerException)


def test_a_token_ends_by_itself(held: Held) -> None:
    held.make("brief", "--role", "infer", "--expires", "3s")
    assert held.infer("brief", "team-a-x").status_code == 200
    time.sleep(3.5)
    assert held.infer("brief", "team-a-x").status_code == 401
    held.running.run("token", "revoke", "brief")


def test_no_token_is_kept_anywhere(held: Held) -> None:
    texts = [each.encode() for each in held.tokens.values()]
    for path in (held.running.folder).rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(text in content for text in texts), path
    listed = held.running.run("token", "list", "-o", "json")
    assert {each["name"] for each in json.loads(listed.out)} >= {ADMIN, TEAM_A, TEAM_B}
    assert not any(text.decode() in listed.out for text in texts)


def test_models_do_not_hear_the_token(held: Held) -> None:
    """A model is code: what it heard it could use."""
    heard: list[float] = []
    address = f"127.0.0.1:{held.running.port}"
    mine = tensors(held, tritonclient.grpc.InferInput, "team-a-x")
    with tritonclient.grpc.InferenceServerClient(address) as client:
        for way in ("hot", "cold", "packed", "stream"):
            if way == "cold":
                assert held.running.run("evict", "team-a-stream").code == 0
            for who in (TEAM_A, ADMIN):
                answer = held.infer(who, "team-a-stream").raise_for_status().json()
                heard += answer["outputs"][1]["data"]
                packed = "gzip" if way == "packed" else None
                over_grpc = client.infer(
                    "team-a-stream", mine, headers=held.headers(who), compression_algorithm=packed
                )
                heard += over_grpc.as_numpy("heard").tolist()
        answers: list[tritonclient.grpc.InferResult] = []
        client.start_stream(
            lambda result, error: answers.append(result), headers=held.headers(TEAM_A)
        )
        client.async_stream_infer("team-a-stream", mine)
        wait_until("an answer", lambda: answers)
        heard += answers[0].as_numpy("heard").tolist()
    assert 0.0 in heard, "it hears headers at all"
    assert 1.0 not in heard


def test_large_chunked_and_compressed_bodies_are_asked_like_others(held: Held) -> None:
    plain = json.dumps(held.request("team-a-x")).encode()
    bodies: dict[str, tuple[bytes, dict[str, str]]] = {
        "large": (plain + b" " * 600_000, {}),
        "chunked": (plain, {}),
        "gzip": (gzip.compress(plain), {"content-encoding": "gzip"}),
        "large gzip": (gzip.compress(plain + b" " * 600_000, 0), {"content-encoding": "gzip"}),
    }
    for way in bodies:
        for who, expected in ((None, 401), (VIEWER, 401), (TEAM_B, 403), (TEAM_A, 200)):
            body, headers = bodies[way]
            content = iter([body[:20], body[20:]]) if way == "chunked" else body
            answer = httpx.post(
                f"http://127.0.0.1:{held.running.port}/v2/models/team-a-stream/infer",
                content=content,
                headers={"content-type": "application/json", **held.headers(who), **headers},
                timeout=60,
            )
            assert answer.status_code == expected, (way, who, answer.text[:300])
            if expected == 200:
                assert 1.0 not in answer.json()["outputs"][1]["data"], "the model heard the token"
            else:
                assert "authorization: " in oip_error(answer)


def test_the_last_administrator_cannot_be_revoked_while_others_are_left(held: Held) -> None:
    refused = held.running.run("token", "revoke", ADMIN)
    assert refused.code == 1
    assert "last administrator" in refused.err


def test_who_may_use_a_model_is_told_of_it(held: Held) -> None:
    for who in (TEAM_A, OPERATOR, ADMIN):
        for path in ("team-a-x", "team-a-x/ready"):
            answer = held.call(who, "GET", f"/v2/models/{path}")
            assert answer.status_code == 200, (path, answer.text)
    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{held.running.port}") as client:
        mine = held.headers(TEAM_A)
        assert client.is_model_ready("team-a-x", headers=mine)
        assert client.get_model_metadata("team-a-x", headers=mine)["name"] == "team-a-x"
        with pytest.raises(tritonclient.utils.InferenceServerException):
            client.get_model_metadata("team-b-x", headers=mine)


def test_the_last_use_of_a_token_is_listed_for_models_too(held: Held) -> None:
    def last_used() -> dict[str, str | None]:
        listed = held.running.run("token", "list", "-o", "json")
        assert listed.code == 0, listed.err
        return {each["name"]: each["lastUsed"] for each in json.loads(listed.out)}

    for name in ("by-rest", "by-grpc", "by-gateway", "in-vain", "by-nobody"):
        held.make(name, "--role", "infer", "--models", "team-a-*")
    assert held.infer("by-rest", "team-a-x").status_code == 200
    assert held.infer("in-vain", "team-b-x").status_code == 403
    assert held.call("by-gateway", "GET", "/v2/models/team-a-x").status_code == 200
    address, mine = (
        f"127.0.0.1:{held.running.port}",
        tensors(held, tritonclient.grpc.InferInput, "team-a-x"),
    )
    with tritonclient.grpc.InferenceServerClient(address) as client:
        client.infer("team-a-x", mine, headers=held.headers("by-grpc"))
    used = {"by-rest", "by-grpc", "by-gateway", "in-vain"}
    wait_until("all are listed", lambda: {each for each, at in last_used().items() if at} >= used)
    assert last_used()["by-nobody"] is None


def test_a_token_makes_no_more_requests_per_second_than_it_may(held: Held) -> None:
    held.make("slow", "--role", "infer", "--requests-per-second", "2")
    address = f"127.0.0.1:{held.running.port}"
    mine = tensors(held, tritonclient.grpc.InferInput, "team-a-x")
    with tritonclient.grpc.InferenceServerClient(address) as client:
        once = partial(client.infer, "team-a-x", mine, headers=held.headers("slow"))
        with pytest.raises(tritonclient.utils.InferenceServerException) as refused:
            [once() for _ in range(20)]
        assert refused.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
        assert "2 requests per second are what this token may make" in str(refused.value)
        client.infer("team-a-x", mine, headers=held.headers(TEAM_A))
    mine = tensors(held, tritonclient.http.InferInput, "team-a-x")
    with tritonclient.http.InferenceServerClient(address) as client:
        once = partial(client.infer, "team-a-x", mine, headers=held.headers("slow"))
        with pytest.raises(tritonclient.utils.InferenceServerException) as refused:
            [once() for _ in range(20)]
        assert "2 requests per second are what this token may make" in str(refused.value)
        client.infer("team-a-x", mine, headers=held.headers(TEAM_A))
    listed = held.running.run("token", "list")
    assert "2/s" in listed.out


def test_who_did_what_is_told_to_administrators(held: Held) -> None:
    assert held.api(TEAM_A, "DELETE", "/api/v1/models/team-b-x").status_code == 403
    assert held.api(OPERATOR, "GET", "/api/v1/audit").status_code == 403
    told = held.running.run("events", "--audit", "--since", "1h", "-o", "json")
    entries = [json.loads(line) for line in told.out.splitlines()]
    applied = [each["name"] for each in entries if each["verb"] == "apply"]
    assert {"team-a-x", "team-b-x", "team-a-stream"} <= set(applied)
    made = [each for each in entries if (each["verb"], each["name"]) == ("create", TEAM_A)]
    assert [(each["token"], each["role"], each["outcome"]) for each in made] == [
        (ADMIN, "admin", "done")
    ]
    last = [each for each in entries if each["outcome"] == "refused"][-1]
    assert (last["token"], last["status"], last["name"]) == (TEAM_A, 403, "team-b-x")
    table = held.running.run("events", "--audit").out
    assert max(map(len, table.splitlines())) <= 100
    kept = held.running.folder / "state" / "scheduler" / "audit"
    assert {each.stat().st_mode & 0o777 for each in kept.iterdir()} == {0o600}
