"""What people get wrong: one clear line each, exit code 1 (usage: 2), and a good model that never notices."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import yaml

from tests.e2e.process import (
    Overbook,
    Result,
    dump,
    model_manifest,
    oip_error,
    server_manifest,
    wait_until,
)
from tests.e2e.steady import Asker, Steady, same
from tests.e2e.zoo import TrainedModel, train
from tests.small_disk import small_disk

ROW = np.zeros((1, 4))


@pytest.fixture(scope="module")
def good(home: Path) -> TrainedModel:
    return train(home / "models", "good", megabytes=0.2, seed=1)


@pytest.fixture(scope="module")
def running(home: Path, good: TrainedModel) -> Iterator[Overbook]:
    """One Overbook for all these tests; the good model is asked from the first to the last."""
    with Overbook(home / "bad") as made:
        applied = made.apply(server_manifest("100Mi"), model_manifest("good", good.folder))
        assert applied.code == 0, applied.err
        with Steady(made.port, good):
            yield made


def refused(result: Result, *words: str) -> str:
    """The one line on stderr of a command that failed; it has all the words."""
    assert result.code == 1, result
    [line] = result.err.strip().splitlines()
    assert "Traceback" not in line
    for word in words:
        assert word in line
    return line


def events(running: Overbook, model: str, reason: str) -> int:
    """How many of that kind there were."""
    page = running.api.get("/api/v1/events", params={"model": model}).json()
    return sum(1 for event in page["events"] if event["reason"] == reason)


def apply_text(running: Overbook, text: str, *options: str) -> Result:
    return running.run("apply", "-f", "-", *options, stdin=text)


# -- requests


def test_an_unknown_model_is_not_found_in_both_protocols(running: Overbook) -> None:
    for path in ("/v2/models/nobody", "/v2/models/nobody/ready"):
        response = running.data.get(path)
        assert response.status_code == 404
        assert "nobody" in oip_error(response)
    with Asker(running.port, "nobody", ROW) as asker:
        response = asker.rest()
        assert response.status_code == 404
        assert "nobody" in oip_error(response)
        with pytest.raises(grpc.RpcError) as raised:
            asker.grpc()
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def test_commands_for_an_unknown_model(running: Overbook) -> None:
    for command in ("evict", "activate", "pin"):
        refused(running.run(command, "nobody"), "nobody")
    refused(running.run("describe", "model", "nobody"), "nobody")
    refused(running.run("infer", "nobody", '{"inputs": []}'), "nobody")


# -- manifests


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: Model\nmetadata: {name: x\n", ("<stdin>:3:", "YAML")),
        (
            "apiVersion: overbook.dev/v1alpha1\nkind: Model\nmetadata: {name: x}\nspec:\n  memory: 5\n",
            ("spec.storageUri",),
        ),
        (
            "apiVersion: overbook.dev/v1alpha1\nkind: Model\nmetadata: {name: x}\n"
            "spec:\n  storageUri: /tmp\n  memori: 5\n",
            ("<stdin>:6:", "memori"),
        ),
        (
            "apiVersion: overbook.dev/v1alpha1\nkind: Model\nmetadata: {name: bad/name}\n"
            "spec: {storageUri: /tmp}\n",
            ("metadata.name", "bad/name"),
        ),
        (
            "apiVersion: overbook.dev/v1alpha1\nkind: Model\nmetadata: {name: x}\n"
            "spec: {storageUri: /tmp, memory: many}\n",
            ("spec.memory", "many"),
        ),
        ("apiVersion: overbook.dev/v1alpha1\nkind: Modell\nmetadata: {name: x}\n", ("Modell",)),
    ],
)
def test_a_malformed_manifest(running: Overbook, text: str, words: tuple[str, ...]) -> None:
    refused(apply_text(running, text), *words)


def test_a_name_twice_in_a_file(running: Overbook, home: Path, good: TrainedModel) -> None:
    document = model_manifest("twice", good.folder)
    path = dump(home / "twice.yaml", document, document)
    refused(running.run("apply", "-f", str(path)), "twice", "twice.yaml")
    assert running.api.get("/api/v1/models/twice").status_code == 404


def test_a_manifest_file_that_is_not_there(running: Overbook) -> None:
    result = running.run("apply", "-f", "/nowhere/model.yaml")
    refused(result, "/nowhere/model.yaml", "No such file")


def test_missing_files_of_a_model(running: Overbook) -> None:
    text = yaml.safe_dump(model_manifest("missing", "/nowhere/model"))
    refused(apply_text(running, text), "storageUri", "/nowhere/model")


def test_a_bad_document_does_not_hold_up_the_others(running: Overbook, good: TrainedModel) -> None:
    result = running.apply(
        model_manifest("missing", "/nowhere/model"), model_manifest("beside", good.folder)
    )
    refused(result, "/nowhere/model")
    assert "model/beside ready" in result.out
    assert running.run("delete", "model", "beside").code == 0


def test_a_requirement_that_nobody_offers(running: Overbook, good: TrainedModel) -> None:
    result = running.apply(
        model_manifest("quantum", good.folder, requirements=["quantum"]), wait=False
    )
    refused(result, "quantum", "mlserver")
    [condition] = running.model("quantum")["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "ScheduleFailed")
    with Asker(running.port, "quantum", ROW) as asker:
        response = asker.rest()
    assert response.status_code == 503
    assert "quantum" in oip_error(response)
    assert running.run("delete", "model", "quantum").code == 0


def test_a_model_larger_than_every_budget(running: Overbook, good: TrainedModel) -> None:
    result = running.apply(model_manifest("huge", good.folder, memory="1Ti"), wait=False)
    refused(result, "huge", "1Ti", "100Mi")
    assert running.run("delete", "model", "huge").code == 0


def test_a_budget_larger_than_the_machine(running: Overbook) -> None:
    result = running.apply(server_manifest("900Ti", name="giant"), wait=False)
    refused(result, "spec.memory", "900Ti", "this machine's", "allowOversizedMemory")
    assert running.api.get("/api/v1/servers/giant").status_code == 404


def test_a_file_of_another_framework(running: Overbook, home: Path) -> None:
    folder = home / "models" / "onnx"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"\x08\x07")
    refused(running.apply(model_manifest("onnx", folder)), "onnx", "model.onnx", "model.joblib")
    with Asker(running.port, "onnx", ROW) as asker:
        response = asker.rest()
    assert response.status_code == 503
    assert "model.onnx" in oip_error(response)
    assert running.run("delete", "model", "onnx").code == 0


# -- artifacts that do not load


def test_a_corrupt_model_fails_with_the_servers_reason_and_heals_at_once(
    running: Overbook, home: Path
) -> None:
    model = train(home / "models", "corrupt", megabytes=0.1, seed=3)
    path = model.folder / "model.joblib"
    intact = path.read_bytes()
    path.write_bytes(intact[: len(intact) // 2])
    line = refused(running.apply(model_manifest("corrupt", model.folder)), "corrupt", "ModelFailed")
    assert "MLServer" in line

    with Asker(running.port, "corrupt", model.inputs) as asker:
        before = events(running, "corrupt", "ModelLoadFailed")
        pauses: list[str | None] = []
        for _ in range(25):
            response = asker.rest()
            assert response.status_code == 503
            pauses.append(response.headers.get("retry-after"))
            with pytest.raises(grpc.RpcError) as raised:
                asker.grpc()
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert events(running, "corrupt", "ModelLoadFailed") - before <= 3
    given_up = pauses.index(None) if None in pauses else len(pauses)
    assert given_up >= 1, "it is tried again after its first failure"
    assert all(pause is not None and int(pause) >= 1 for pause in pauses[:given_up])
    assert pauses[given_up:] == [None] * (len(pauses) - given_up), "and given up once, for good"
    assert "MLServer" in oip_error(response)
    assert "MLServer" in str(raised.value.details())
    [condition] = running.model("corrupt")["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "ModelFailed")
    assert "MLServer" in condition["message"]
    [replica] = running.model("corrupt")["status"]["replicas"]
    assert "MLServer" in replica["lastError"]
    assert replica["state"] in ("failed", "loading")  # a retry may be under way

    began = time.monotonic()
    line = refused(running.run("wait", "model", "corrupt", "--timeout", "100s"), "ModelFailed")
    assert time.monotonic() - began < 60, "nothing is waited for that nobody tries again"
    assert "MLServer" in line
    assert running.model("corrupt")["status"]["final"] is True
    assert events(running, "corrupt", "ModelLoadFailed") == 2, "that it failed, and for good"
    with Asker(running.port, "corrupt", model.inputs) as asker:
        response = asker.rest()
    assert (response.status_code, response.headers.get("retry-after")) == (503, None)
    refused(running.run("activate", "corrupt"), "MLServer")

    path.write_bytes(intact)
    applied = running.apply(model_manifest("corrupt", model.folder))
    assert applied.code == 0, applied.err
    with Asker(running.port, "corrupt", model.inputs) as asker:
        assert same(asker.answer(0), model.expected)


def test_a_copy_that_was_damaged_on_our_disk_heals_by_itself(running: Overbook, home: Path) -> None:
    model = train(home / "models", "rotten", megabytes=0.1, seed=4)
    assert running.apply(model_manifest("rotten", model.folder)).code == 0
    assert running.run("evict", "rotten").code == 0
    [copy] = [
        path
        for path in (running.folder / "state" / "cache").glob("*/model.joblib")
        if path.read_bytes() == (model.folder / "model.joblib").read_bytes()
    ]
    size = copy.stat().st_size
    copy.chmod(0o644)
    copy.write_bytes(b"\0" * size)
    with Asker(running.port, "rotten", model.inputs) as asker:
        assert same(asker.answer(0), model.expected)
    assert copy.read_bytes() == (model.folder / "model.joblib").read_bytes()
    wait_until("the event", lambda: events(running, "rotten", "ArtifactDamaged"), seconds=5)


# -- the command line and the machine


@pytest.mark.parametrize(
    "arguments",
    [
        ("apply",),
        ("get", "nothing"),
        ("wait", "model", "x", "--for", "tea"),
        ("up", "--port", "99999"),
        ("up", "--memory", "lots"),
        ("infer",),
        ("nonsense",),
    ],
)
def test_wrong_usage_is_exit_code_2(running: Overbook, arguments: tuple[str, ...]) -> None:
    result = running.run(*arguments)
    assert result.code == 2
    assert "Traceback" not in result.err
    assert result.err


def _up(running: Overbook, *arguments: str) -> Result:
    done = subprocess.run(
        [sys.executable, "-m", "overbook", "up", *arguments],
        env=running.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def test_ports_in_use(running: Overbook, home: Path) -> None:
    other = Overbook(home / "other")
    state = ("--state-dir", str(home / "other-state"))
    taken = _up(running, *state, "--port", str(running.port), "--api-port", str(other.api_port))
    refused(taken, str(running.port), "in use", "--port")
    taken = _up(running, *state, "--port", str(other.port), "--api-port", str(running.api_port))
    refused(taken, str(running.api_port), "in use", "--api-port")


def test_a_state_folder_in_use(running: Overbook, home: Path) -> None:
    other = Overbook(home / "other")
    taken = _up(running, "--port", str(other.port), "--api-port", str(other.api_port))
    refused(taken, "state", "in use", "--state-dir")


def test_a_state_folder_that_cannot_be_one(running: Overbook, home: Path) -> None:
    (home / "file").write_text("")
    other = Overbook(home / "other")
    ports = ("--port", str(other.port), "--api-port", str(other.api_port))
    refused(
        _up(running, *ports, "--state-dir", str(home / "file" / "state")),
        *(str(home / "file"), "cannot be used", "--state-dir"),
    )


def test_no_overbook_there(running: Overbook, home: Path) -> None:
    nobody = Overbook(home / "nobody")
    result = nobody.run("get", "models")
    refused(result, str(nobody.api_port))


def test_no_disk_space(home: Path, good: TrainedModel) -> None:
    large = train(home / "models", "large", megabytes=12, seed=5)
    late = train(home / "models", "late", megabytes=0.3, seed=6)
    with small_disk(home / "disk", "8m") as disk, Overbook(disk / "up") as running:
        assert (
            running.apply(server_manifest("100Mi"), model_manifest("good", good.folder)).code == 0
        )
        with Steady(running.port, good):
            result = running.apply(model_manifest("large", large.folder))
            refused(result, "large", "more than the whole cache may ever", "larger disk")
            filler = disk / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 16))
            result = running.apply(model_manifest("late", late.folder))
            refused(result, "disk is full", "space")
            other = Overbook(home / "other")
            ports = ("--port", str(other.port), "--api-port", str(other.api_port))
            second = _up(running, *ports, "--state-dir", str(disk / "second"))
            refused(second, str(disk / "second"))
            # Whether a folder or a database is the first that finds no space, the disk's last pages decide.
            assert "No space left" in second.err or "disk is full" in second.err
            filler.unlink()
            wait_until(
                "space heals what failed for want of it",
                lambda: running.apply(model_manifest("late", late.folder)).code == 0,
                seconds=30,
            )
            with Asker(running.port, "late", late.inputs) as asker:
                assert same(asker.answer(1), late.expected)
