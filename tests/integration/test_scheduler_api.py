"""The control API against the real uvicorn: applies, answers, errors, health."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from overbook.artifacts import survey as artifact_survey
from overbook.artifacts.survey import Survey, look
from overbook.cli.showing import manifest
from overbook.scheduler.errors import PortInUse, StoreError
from overbook.scheduler.logs import READERS
from overbook.scheduler.manifests_in import Defaults
from overbook.scheduler.part import SchedulerConfig, running_scheduler
from tests.integration.scheduler_harness import (
    GROUP,
    ScriptedAgent,
    harness,
    model_document,
    server_document,
    until,
)

JSON = {"content-type": "application/json"}


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "iris").mkdir()
    (tmp_path / "iris" / "model.joblib").write_bytes(b"x" * 50)
    return tmp_path / "iris"


async def test_the_missions_example(tmp_path: Path, artifact: Path) -> None:
    async with harness(tmp_path) as running:
        await running.apply(server_document())
        await running.agent(ScriptedAgent("mlserver/0"))
        models = [model_document(f"m{number}", artifact) for number in range(13)]
        results = await running.apply(*models)
        assert [each["action"] for each in results] == ["created"] * 13
        assert [each["error"] for each in results[:12]] == [None] * 12
        for number in ("1000000 bytes", "12000000 bytes", "10000000 bytes", "20 %"):
            assert number in str(results[12]["error"])
        described = (await running.http.get("/api/v1/models/m12/describe")).json()
        assert described["status"]["conditions"][0]["reason"] == "ScheduleFailed"
        verdict = described["verdict"]
        assert (verdict["placed"], verdict["replicas"][0]["rule"]) == (False, "NoRoom")
        assert verdict["replicas"][0]["bytes"]["registered"] == 12_000_000
        assert "ScheduleFailed" in [each["reason"] for each in described["events"]]
        server = (await running.http.get("/api/v1/servers/mlserver/describe")).json()
        assert server["status"]["replicas"][0]["bytes"]["registered"] == 12_000_000
        assert len(server["verdict"][0]["models"]) == 12
        await running.http.delete("/api/v1/models/m3")
        await running.until_reason("m12", "ModelAvailable")


async def test_each_document_stands_alone(tmp_path: Path, artifact: Path) -> None:
    async with harness(tmp_path) as running:
        await running.apply(server_document())
        await running.agent(ScriptedAgent("mlserver/0"))
        answer = await running.http.post(
            "/api/v1/apply",
            json={
                "documents": [
                    model_document("good", artifact),
                    model_document("good", artifact),
                    model_document("-bad-", artifact),
                    model_document("missing", tmp_path / "nowhere"),
                    model_document("far", Path("/x"), storageUri="s3://bucket/x"),
                    model_document("typo", artifact, requirements=["sklern"]),
                    model_document("huge", artifact, memory="1Gi"),
                    server_document("poor", memory=None),
                    {"kind": "Pod", "apiVersion": GROUP},
                    "no manifest",
                ]
            },
        )
        assert answer.status_code == 200
        results = answer.json()["results"]
        shown = [(each["name"], each["action"]) for each in results]
        assert shown == [
            ("good", "created"),
            ("good", "failed"),
            ("-bad-", "failed"),
            ("missing", "failed"),
            ("far", "failed"),
            ("typo", "created"),
            ("huge", "created"),
            ("poor", "failed"),
            ("", "failed"),
            ("", "failed"),
        ]
        errors = [each["error"] for each in results]
        assert errors[0] is None
        assert all("\n" not in each for each in errors[1:])
        assert "appears twice" in errors[1]
        assert "metadata.name" in errors[2]
        assert errors[3].startswith("spec.storageUri: ")
        assert "does not exist" in errors[3]
        assert "s3://bucket/x: nothing is there" in errors[4]
        assert "did you mean 'sklearn'?" in errors[5]
        assert "1073741824 bytes" in errors[6]
        assert "spec.memory: is required" in errors[7]
        names = [
            each["metadata"]["name"] for each in (await running.http.get("/api/v1/models")).json()
        ]
        assert names == ["good", "huge", "typo"]


async def test_changed_files_are_configured(tmp_path: Path, artifact: Path) -> None:
    async with harness(tmp_path) as running:
        document = model_document("iris", artifact)
        for action, generation in (("created", 1), ("unchanged", 1)):
            result = (await running.apply(document))[0]
            assert (result["action"], result["generation"]) == (action, generation)
        (artifact / "model.joblib").write_bytes(b"y" * 60)
        result = (await running.apply(document))[0]
        assert (result["action"], result["generation"]) == ("configured", 2)
        shutil.rmtree(artifact)
        result = (await running.apply(document))[0]
        assert result["action"] == "failed"
        assert (await running.http.get("/api/v1/models/iris")).json()["metadata"] == {
            "name": "iris",
            "generation": 2,
        }


async def test_validate_stores_nothing(tmp_path: Path, artifact: Path) -> None:
    async with harness(tmp_path) as running:
        documents = [
            model_document("iris", artifact),
            server_document("a"),
            server_document("b", memory=None),
            model_document("gone", tmp_path / "nowhere"),
        ]
        answer = await running.http.post("/api/v1/validate", json={"documents": documents})
        actions = [each["action"] for each in answer.json()["results"]]
        assert actions == ["valid", "valid", "failed", "failed"]
        assert (await running.http.get("/api/v1/models")).json() == []
        assert (await running.http.get("/api/v1/servers")).json() == []


async def test_seldon_manifests_apply_with_warnings(tmp_path: Path, artifact: Path) -> None:
    async with harness(tmp_path, Defaults(memory=10_000_000)) as running:
        seldon = "mlops.seldon.io/v1alpha1"
        results = await running.apply(
            {
                "apiVersion": seldon,
                "kind": "Server",
                "metadata": {"name": "mlserver", "namespace": "seldon"},
                "spec": {"serverConfig": "mlserver", "replicas": 1},
            },
            {
                "apiVersion": seldon,
                "kind": "Model",
                "metadata": {"name": "iris"},
                "spec": {
                    "storageUri": str(artifact),
                    "requirements": ["sklearn"],
                    "memory": "100Ki",
                    "logger": {"percent": 10},
                },
            },
        )
        assert [each["action"] for each in results] == ["created", "created"]
        assert "spec.logger" in str(results[1]["warnings"])
        server = (await running.http.get("/api/v1/servers/mlserver")).json()
        assert server["metadata"]["namespace"] == "seldon"
        assert server["status"]["replicas"][0]["bytes"]["budget"] == 10_000_000


async def test_what_is_for_others_is_skipped(tmp_path: Path, artifact: Path) -> None:
    seldon = "mlops.seldon.io/v1alpha1"
    pipeline: dict[str, object] = {
        "apiVersion": seldon,
        "kind": "Pipeline",
        "metadata": {"name": "p"},
    }
    async with harness(tmp_path, Defaults(memory=10_000_000)) as running:
        results = await running.apply(pipeline, model_document("iris", artifact), server_document())
        assert [each["action"] for each in results] == ["skipped", "created", "created"]
        assert (results[0]["kind"], results[0]["name"], results[0]["error"]) == (
            "Pipeline",
            "p",
            None,
        )
        warning = f"Pipeline 'p' of {seldon} is skipped; Overbook has Models and Servers"
        assert results[0]["warnings"] == [warning]
        answer = await running.http.post("/api/v1/validate", json={"documents": [pipeline]})
        assert answer.json()["results"][0]["action"] == "skipped"


async def test_deleting_a_server(tmp_path: Path, artifact: Path) -> None:
    async with harness(tmp_path) as running:
        await running.apply(server_document(), model_document("iris", artifact))
        await running.agent(ScriptedAgent("mlserver/0"))
        await running.until_reason("iris", "ModelAvailable")
        assert (await running.http.delete("/api/v1/servers/mlserver")).status_code == 200
        assert (await running.http.get("/api/v1/servers/mlserver")).status_code == 404
        await running.until_reason("iris", "ScheduleFailed")
        await running.apply(server_document())
        await running.until_reason("iris", "ModelAvailable")


@pytest.mark.parametrize(
    ("method", "path", "code", "text"),
    [
        ("GET", "/api/v1/models/who", 404, "model 'who' is not registered"),
        ("GET", "/api/v1/models/who/describe", 404, "model 'who'"),
        ("DELETE", "/api/v1/models/who", 404, "model 'who'"),
        ("POST", "/api/v1/models/who/pin", 404, "model 'who'"),
        ("POST", "/api/v1/models/who/unpin", 404, "model 'who'"),
        ("POST", "/api/v1/models/who/activate", 404, "model 'who'"),
        ("GET", "/api/v1/servers/who", 404, "server 'who' is not registered"),
        ("GET", "/api/v1/servers/who/describe", 404, "server 'who'"),
        ("DELETE", "/api/v1/servers/who", 404, "server 'who'"),
        ("GET", "/api/v1/nothing", 404, "GET /api/v1/nothing: Not Found"),
        ("GET", "/api/v1/events?after=x", 400, "after"),
        ("GET", "/api/v1/events?wait=1000", 400, "wait"),
        ("POST", "/api/v1/apply", 400, "body"),
    ],
)
async def test_errors_are_one_line(
    tmp_path: Path, method: str, path: str, code: int, text: str
) -> None:
    async with harness(tmp_path) as running:
        answer = await running.http.request(method, path)
        assert answer.status_code == code
        assert list(answer.json()) == ["error"]
        assert text in answer.json()["error"]
        assert "\n" not in answer.json()["error"]


async def test_a_body_that_is_no_json(tmp_path: Path) -> None:
    async with harness(tmp_path) as running:
        answer = await running.http.post("/api/v1/apply", content=b"{", headers=JSON)
        assert answer.status_code == 400
        assert "JSON" in answer.json()["error"]
        strange = await running.http.post("/api/v1/apply", json={"docs": []})
        assert "docs" in strange.json()["error"]


async def test_strange_text_in_a_manifest_hurts_nobody(tmp_path: Path, artifact: Path) -> None:
    async with harness(tmp_path) as running:
        document = model_document("iris", artifact)
        document["metadata"] = {"name": "iris", "labels": {"a": "\ud800 ü \x00"}}
        body = json.dumps({"documents": [document]})
        answer = await running.http.post("/api/v1/apply", content=body, headers=JSON)
        assert answer.status_code == 200
        assert (await running.http.get("/api/v1/models/iris")).status_code == 200
        assert (await running.http.get("/api/v1/models/iris/describe")).status_code == 200


async def test_health_metrics_version_and_docs(tmp_path: Path) -> None:
    missing: str | None = None
    async with harness(tmp_path, missing=lambda: missing) as running:
        assert (await running.http.get("/healthz")).status_code == 200
        assert (await running.http.get("/readyz")).status_code == 200
        missing = "gateway is not serving"
        answer = await running.http.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "gateway is not serving\n")
        missing = None
        assert (await running.http.get("/readyz")).status_code == 200
        assert "overbook_scheduler_verdicts" in (await running.http.get("/metrics")).text
        assert (await running.http.get("/api/v1/version")).json()["version"]
        assert (await running.http.get("/docs")).status_code == 200
        paths = (await running.http.get("/openapi.json")).json()["paths"]
        assert "/api/v1/models/{name}/activate" in paths


async def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for config in (
            SchedulerConfig(tmp_path / "a", "127.0.0.1:0", api_port=port),
            SchedulerConfig(tmp_path / "b", f"127.0.0.1:{port}", api_port=0),
        ):
            with pytest.raises(PortInUse, match=str(port)) as caught:
                async with running_scheduler(config):
                    pass
            assert "\n" not in str(caught.value)


async def test_a_state_folder_in_use_is_one_clear_line(tmp_path: Path) -> None:
    async with harness(tmp_path):
        with pytest.raises(StoreError, match="another scheduler has it open"):
            async with harness(tmp_path):
                pass


async def test_what_the_block_raises_comes_out_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with harness(tmp_path):
            raise KeyError("mine")


async def test_a_bulk_apply_is_right_to_the_last_model(tmp_path: Path, artifact: Path) -> None:
    async with harness(tmp_path) as running:
        agent = ScriptedAgent("mlserver/0")
        await running.apply(server_document(memory="1G"))
        await running.agent(agent)
        models = [model_document(f"m{number}", artifact) for number in range(1201)]
        results = await running.apply(*models)
        assert [each["error"] is None for each in results] == [True] * 1200 + [False]
        await until("all told", lambda: len(agent.assigned) == 1200)
        shown = (await running.http.get("/api/v1/models")).json()
        assert len(shown) == 1201


@pytest.mark.parametrize(
    "body",
    [
        b'{"documents": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
        b'{"documents": [' + b'{"spec":' * 50_000 + b"1" + b"}" * 50_000 + b"]}",
        b'{"documents": [{"apiVersion": "overbook.dev/v1alpha1", "kind": "Model", "metadata": {"name": "x",'
        b' "labels": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b'}, "spec": {"storageUri": "/"}}]}',
        b'{"documents": [' + b"9" * 10_000 + b"]}",
        b'{"documents": "\xff\xfe"}',
    ],
    ids=["lists", "objects", "labels", "digits", "no UTF-8"],
)
async def test_a_body_that_means_ill_is_the_senders_fault(tmp_path: Path, body: bytes) -> None:
    async with harness(tmp_path) as running:
        answer = await running.http.post("/api/v1/apply", content=body, headers=JSON)
        if answer.status_code == 200:
            [result] = answer.json()["results"]
            assert result["action"] == "failed"
        else:
            assert answer.status_code == 400
            assert list(answer.json()) == ["error"]
        assert (await running.http.get("/healthz")).status_code == 200


async def test_files_that_mean_ill_fail_their_document_alone(
    tmp_path: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "round").symlink_to("round")
    os.mkfifo(tmp_path / "pipe")
    paths = {
        "zero-byte": f"file://{tmp_path}/a%00b",
        "long": "/" + "a" * 5000,
        "round": str(tmp_path / "round"),
        "pipe": str(tmp_path / "pipe"),
        "device": "/dev/zero",
        "surprise": str(tmp_path / "surprise"),
    }

    def surprising(path: str, version: str = "") -> Survey:
        if path.endswith("surprise"):
            raise RecursionError("nobody thought of it")
        return look(path, version)

    monkeypatch.setattr(artifact_survey, "look", surprising)
    async with harness(tmp_path) as running:
        await running.apply(server_document())
        documents = [
            model_document(name, Path("/x"), storageUri=uri) for name, uri in paths.items()
        ]
        answer = await running.http.post(
            "/api/v1/apply", json={"documents": [*documents, model_document("good", artifact)]}
        )
        assert answer.status_code == 200
        *failed, good = answer.json()["results"]
        assert good["action"] == "created"
        for name, result in zip(paths, failed, strict=True):
            assert (result["name"], result["action"]) == (name, "failed")
            assert result["error"].startswith("spec.storageUri: "), result
            assert "\n" not in result["error"]


async def test_what_get_prints_as_a_manifest_changes_nothing(
    tmp_path: Path, artifact: Path
) -> None:
    async with harness(tmp_path) as running:
        await running.apply(
            server_document(extraCapabilities=["fraud"], overcommitPercentage=50),
            server_document("other", evictionPolicy="lru", replicas=2),
        )
        await running.agent(ScriptedAgent("mlserver/0"))
        plain = model_document("plain", artifact)
        full = model_document("full", artifact, keepAlive="10m", priority=3, pinned=True)
        await running.apply(plain, full)
        await running.http.post("/api/v1/models/plain/pin")
        for kind in ("models", "servers"):
            shown = (await running.http.get(f"/api/v1/{kind}")).json()
            documents: list[dict[str, object]] = [{**manifest(each)} for each in shown]
            results = await running.apply(*documents)
            assert [each["action"] for each in results] == ["unchanged", "unchanged"]
            again = (await running.http.get(f"/api/v1/{kind}")).json()
            assert [each["spec"] for each in again] == [each["spec"] for each in shown]


async def test_the_log_of_a_server(tmp_path: Path) -> None:
    async with harness(tmp_path) as running:
        await running.apply(server_document())
        url = "/api/v1/servers/mlserver/replicas/0/log"
        away = await running.http.get(url)
        assert (away.status_code, "not connected" in away.json()["error"]) == (503, True)
        agent = ScriptedAgent("mlserver/0")
        agent.server_log = [b"a\n", b"\xff\x1b[31mb\n"]
        await running.agent(agent)
        first = (await running.http.get(url, params={"lines": 1})).json()
        assert first == {
            "replica": "mlserver/0",
            "path": "/server.log",
            "lines": ["\ufffd\x1b[31mb"],
            "next": "2",
            "missed": False,
        }
        assert (await running.http.get(url, params={"lines": 0})).json()["lines"] == []
        waiting = asyncio.create_task(
            running.http.get(url, params={"after": first["next"], "wait": 30})
        )
        await until("the agent is asked", lambda: len(agent.log) > 4)
        agent.server_log.append(b"c\n")
        assert (await waiting).json()["lines"] == ["c"]
        nowhere = await running.http.get("/api/v1/servers/mlserver/replicas/7/log")
        assert nowhere.status_code == 404
        assert nowhere.json()["error"] == (
            "server 'mlserver' has no replica 7; see `overbook get servers`"
        )


async def test_only_so_many_follow_logs_and_a_stop_waits_for_none(tmp_path: Path) -> None:
    async with harness(tmp_path) as running:
        await running.apply(server_document())
        await running.agent(ScriptedAgent("mlserver/0"))
        url = "/api/v1/servers/mlserver/replicas/0/log"
        followers = [
            asyncio.create_task(running.http.get(url, params={"wait": 60}))
            for _ in range(READERS + 1)
        ]
        done, waiting = await asyncio.wait(followers, return_when=asyncio.FIRST_COMPLETED)
        [refused] = done
        assert refused.result().status_code == 429
        assert refused.result().json()["error"] == (
            "16 others read logs already; try again when one of them has ended"
        )
        await asyncio.wait_for(running.scheduler.drain(), 10)
        await asyncio.wait(waiting)
        assert {each.result().status_code for each in waiting} == {200}
