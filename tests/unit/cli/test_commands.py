"""Commands that read and change a running Overbook: what they send, print, and exit with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from overbook.client.http import JsonObject
from tests.unit.cli.conftest import Overbook
from tests.unit.client.fake_overbook import REQUEST, FakeOverbook, event, fetched, model, server


def manifest(name: str, **spec: object) -> str:
    document = {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name},
        "spec": {"storageUri": "/", **spec},
    }
    return f"{json.dumps(document)}\n---\n"


def test_what_models_say_moves_no_cursor(overbook: Overbook, fake: FakeOverbook) -> None:
    evil = "\x1b[2J\x1b]0;title\x07no\x9b31m\u202ekey"
    fake.add(model("iris", ready=False, reason="ModelFailed", message=evil))
    fake.events = [{**event(1, "iris"), "message": evil}]
    fake.refusals["broken"] = (500, evil)
    for arguments in (
        ("get", "models"),
        ("describe", "model", "iris"),
        ("events",),
        ("events", "-o", "json"),
        ("get", "models", "-o", "json"),
        ("infer", "broken", json.dumps(REQUEST)),
    ):
        result = overbook(*arguments)
        said = result.stdout + result.stderr
        assert all(each.isprintable() or each == "\n" for each in said), (arguments, said)
        assert "key" in said


def test_apply_says_what_became_of_each(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("old"))
    fake.apply_errors["large"] = "spec.memory: 3GiB is more than every budget; the largest is 2GiB"
    fake.unplaced["lost"] = "no server offers 'xgboost'"
    text = manifest("old") + manifest("iris") + manifest("large") + manifest("lost")
    result = overbook("apply", "-f", "-", stdin=text)
    assert result.exit_code == 1
    assert result.stdout == "model/old unchanged\nmodel/iris created\nmodel/lost created\n"
    assert result.stderr.splitlines() == [
        "<stdin>:5: model/large failed: spec.memory: 3GiB is more than every budget; the largest is 2GiB",
        "<stdin>:7: model/lost is not placed: no server offers 'xgboost'",
    ]


def test_apply_warns_of_each_and_of_nothing_twice(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris"))
    away = "iris: nothing answers at s3.example; what was fetched of it is served as before"
    fake.apply_warnings["iris"] = [away]
    result = overbook("apply", "-f", "-", stdin=manifest("iris"))
    assert (result.exit_code, result.stderr) == (0, f"warning: {away}\n")
    # What this side finds in a manifest by itself, the other one finds, too.
    seldons = ("overbook.dev/v1alpha1", "mlops.seldon.io/v1alpha1")
    ignored = manifest("wine", runtimeClass="x").replace(*seldons)
    [warning] = overbook("apply", "-f", "-", stdin=ignored).stderr.splitlines()
    before, place, text = warning.split(": ", 2)
    assert (before, place) == ("warning", "<stdin>:1")
    fake.apply_warnings["wine"] = [text]
    assert overbook("apply", "-f", "-", stdin=ignored).stderr.splitlines() == [warning]


def test_apply_sends_nothing_when_a_manifest_is_wrong(
    overbook: Overbook, fake: FakeOverbook
) -> None:
    result = overbook(
        "apply", "-f", "-", stdin=manifest("iris") + manifest("wine", memory="x", replicas=-1)
    )
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "<stdin>:3: spec.memory: 'x' is not a quantity; expected bytes such as 100Ki, 1.5Gi or 2e9",
        "<stdin>:3: spec.replicas: -1 is out of range; expected at least 0",
    ]
    assert fake.requests == []


def test_apply_in_bulk_goes_in_chunks_and_prints_a_count(
    overbook: Overbook, fake: FakeOverbook
) -> None:
    text = "".join(manifest(f"m{index}") for index in range(1001))
    result = overbook("apply", "-f", "-", stdin=text)
    assert result.stdout == "1001 documents: 1001 created\n"
    sizes = [len(body["documents"]) for _, _, body in fake.requests if isinstance(body, dict)]  # type: ignore[arg-type]  # a list, as sent
    assert sizes == [500, 500, 1]


def test_apply_and_wait(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris", ready=False, reason="ModelProgressing"))
    fake.becomes_ready["iris"] = model("iris")
    result = overbook("apply", "--wait", "-f", "-", stdin=manifest("iris"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "model/iris unchanged\nmodel/iris ready\n"


def test_apply_and_wait_ends_with_the_first_failure(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris", ready=False, reason="ModelFailed", message="invalid load key"))
    result = overbook("apply", "--wait", "-f", "-", stdin=manifest("iris"))
    assert result.exit_code == 1
    assert result.stderr == "Error: model/iris failed: ModelFailed: invalid load key\n"


def test_wait(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris"), *(model(f"m{index}") for index in range(20)))
    assert overbook("wait", "model", "iris", "--for", "ready").stdout == "model/iris ready\n"
    many = overbook("wait", "models", *(f"m{index}" for index in range(20)))
    assert len(many.stdout.splitlines()) == 20
    assert "/api/v1/models" in [path for _, path, _ in fake.requests]


def test_wait_in_vain_says_why(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris", ready=False, reason="ScheduleFailed", message="no server replica"))
    result = overbook("wait", "model", "iris", "--timeout", "10ms")
    assert result.exit_code == 1
    assert (
        result.stderr
        == "Error: model/iris is not ready after 0.01 s: ScheduleFailed: no server replica\n"
    )


def test_wait_ends_at_once_for_what_nobody_tries_again(
    overbook: Overbook, fake: FakeOverbook
) -> None:
    broken = model("iris", ready=False, reason="ModelFailed", message="invalid load key")
    status = broken["status"]
    assert isinstance(status, dict)
    status["final"] = True
    fake.add(broken)
    result = overbook("wait", "model", "iris", "--timeout", "60s")
    assert result.exit_code == 1
    assert result.stderr == "Error: model/iris failed: ModelFailed: invalid load key\n"


def test_nothing_is_waited_for_that_is_served_nowhere(
    overbook: Overbook, fake: FakeOverbook
) -> None:
    fake.add(model("iris", ready=False, reason="ModelScaledDown", message="spec.replicas is 0"))
    result = overbook("apply", "--wait", "-f", "-", stdin=manifest("iris"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "model/iris unchanged\nmodel/iris is scaled down to 0 replicas\n"
    result = overbook("wait", "model", "iris")
    assert result.exit_code == 1
    assert result.stderr == "Error: model/iris failed: ModelScaledDown: spec.replicas is 0\n"


def test_wait_waits_for_what_is_tried_again(overbook: Overbook, fake: FakeOverbook) -> None:
    broken = model("iris", ready=False, reason="ModelFailed", message="no memory")
    fake.add(broken)
    fake.becomes_ready["iris"] = model("iris")
    assert overbook("wait", "model", "iris").stdout == "model/iris ready\n"


def test_wait_for_the_unknown(overbook: Overbook) -> None:
    assert overbook("wait", "model", "iris").exit_code == 1


def test_validate_needs_nothing_running(
    overbook: Overbook, fake: FakeOverbook, tmp_path: Path
) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(manifest("iris", storageUri="gone"))
    result = overbook("validate", "-f", str(file))
    gone = str(tmp_path / "gone")
    assert (result.exit_code, result.stdout, result.stderr) == (
        1,
        "",
        f"{file}:1: spec.storageUri: {gone!r} does not exist; expected a model's file or folder\n",
    )
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "model.joblib").touch()
    result = overbook("validate", "-f", str(file))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "model/iris valid\n", "")
    assert fake.requests == []


def test_validate_asks_a_running_overbook(overbook: Overbook, fake: FakeOverbook) -> None:
    result = overbook("validate", "-f", "-", "--remote", stdin=manifest("iris"))
    assert (result.exit_code, result.stdout) == (0, "model/iris valid\n")
    fake.apply_errors["iris"] = "spec.storageUri: '/x' does not exist"
    result = overbook("validate", "-f", "-", "--remote", stdin=manifest("iris"))
    assert (result.exit_code, result.stdout, result.stderr) == (
        1,
        "",
        "<stdin>:1: model/iris: spec.storageUri: '/x' does not exist\n",
    )
    assert [path for _, path, _ in fake.requests] == ["/api/v1/validate"] * 2


def test_validate_says_which_sources_it_did_not_ask(overbook: Overbook, fake: FakeOverbook) -> None:
    text = manifest("iris", storageUri="s3://models/iris", secretName="minio")
    result = overbook("validate", "-f", "-", stdin=text)
    assert (result.exit_code, result.stdout) == (0, "model/iris valid\n")
    assert result.stderr == (
        "note: nobody looked at the files of model/iris, which are elsewhere, or whether its secret lets anybody in; "
        "`overbook validate --remote` does, through a running Overbook\n"
    )
    many = "".join(manifest(f"m{number}", storageUri="hf://you/iris") for number in range(7))
    [note] = overbook("validate", "-f", "-", stdin=many).stderr.splitlines()
    assert (
        "at the files of model/m0, model/m1, model/m2, model/m3, model/m4 and 2 more, which" in note
    )
    assert "secret" not in note
    assert "note" not in overbook("validate", "-f", "-", "--remote", stdin=many).stderr
    wrong = overbook("validate", "-f", "-", stdin=manifest("iris", storageUri="s3://"))
    assert (wrong.exit_code, "note" in wrong.stderr) == (1, False)
    assert [path for _, path, _ in fake.requests] == ["/api/v1/validate"]


def test_validate_tells_of_a_source_that_does_not_answer(
    overbook: Overbook, fake: FakeOverbook
) -> None:
    """An apply would take the model, and wait."""
    away = "iris: s3://models/iris: no connection (connection refused); it is asked again"
    fake.apply_warnings["iris"] = [away]
    result = overbook("validate", "-f", "-", "--remote", stdin=manifest("iris"))
    assert (result.exit_code, result.stdout) == (0, "model/iris valid\n")
    assert result.stderr == f"warning: {away}\n"
    # What this side finds in a manifest by itself is not said twice.
    seldons = ("overbook.dev/v1alpha1", "mlops.seldon.io/v1alpha1")
    ignored = manifest("wine", runtimeClass="x").replace(*seldons)
    [warning] = overbook("validate", "-f", "-", "--remote", stdin=ignored).stderr.splitlines()
    fake.apply_warnings["wine"] = [warning.split(": ", 2)[2]]
    again = overbook("validate", "-f", "-", "--remote", stdin=ignored)
    assert again.stderr.splitlines() == [warning]


def test_validate_says_every_problem(overbook: Overbook) -> None:
    result = overbook("validate", "-f", "-", stdin=manifest("-a") + manifest("iris", pinned=1))
    assert (result.exit_code, result.stdout) == (1, "")
    assert [line.split(": ")[:2] for line in result.stderr.splitlines()] == [
        ["<stdin>:1", "metadata.name"],
        ["<stdin>:3", "spec.pinned"],
    ]


def test_delete_by_name_goes_on_after_a_failure(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris"), model("wine"))
    result = overbook("delete", "models", "iris", "nope", "wine")
    assert result.exit_code == 1
    assert result.stdout == "model/iris deleted\nmodel/wine deleted\n"
    assert result.stderr.startswith("Error: model/nope: ")
    assert fake.objects["models"] == {}


def test_delete_what_manifests_name_models_first(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(server("mlserver"), model("iris"))
    servers = (
        '{"apiVersion": "overbook.dev/v1alpha1", "kind": "Server", "metadata": {"name": "mlserver"}, '
        '"spec": {"serverConfig": "mlserver"}}\n---\n'
    )
    result = overbook("delete", "-f", "-", stdin=servers + manifest("iris"))
    assert result.stdout == "model/iris deleted\nserver/mlserver deleted\n"


@pytest.mark.parametrize(
    ("action", "done"),
    [("activate", "activated"), ("evict", "evicted"), ("pin", "pinned"), ("unpin", "unpinned")],
)
def test_acts(overbook: Overbook, fake: FakeOverbook, action: str, done: str) -> None:
    fake.add(model("iris"))
    assert overbook(action, "iris").stdout == f"model/iris {done}\n"
    assert fake.requests == [("POST", f"/api/v1/models/iris/{action}", {"timeout": 60.0})]
    fake.refusals["iris"] = (503, "pinned models fill the budget: 2GiB of 2GiB")
    result = overbook(action, "iris")
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: model/iris is not {done}: pinned models fill the budget: 2GiB of 2GiB\n",
    )


def test_an_act_goes_on_after_a_failure(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris"), model("wine"))
    fake.refusals["iris"] = (503, "no room")
    result = overbook("activate", "iris", "nope", "wine")
    assert (result.exit_code, result.stdout) == (1, "model/wine activated\n")
    first, second = result.stderr.splitlines()
    assert first == "Error: model/iris is not activated: no room"
    assert second.startswith("Error: model/nope is not activated: ")


def test_activate_says_how_far_the_files_are_that_did_not_come_in_time(
    overbook: Overbook, fake: FakeOverbook
) -> None:
    fake.add(fetched("far"))
    fake.refusals["far"] = (503, "the artifact of model 'far' did not arrive within 3 s")
    assert overbook("activate", "far", "--timeout", "3s").stderr == (
        "Error: model/far is not activated: the artifact of model 'far' did not arrive within 3 s; "
        "fetching 512MiB of 1.25GiB (40%), 118MiB/s, 6s left\n"
    )
    assert "fetching" not in overbook("evict", "far").stderr


@pytest.mark.parametrize(
    "command", [("pin", "iris"), ("delete", "model", "iris"), ("apply", "-f", "-")]
)
def test_what_follows_from_a_command_is_told_beside_the_output(
    overbook: Overbook, fake: FakeOverbook, command: tuple[str, ...]
) -> None:
    fake.add(model("iris"))
    fake.warnings = ["mlserver/0: pinned models leave no room for wine", "gateway b is away"]
    result = overbook(*command, stdin=manifest("iris"))
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [f"warning: {each}" for each in fake.warnings]


def test_describe_model(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris"))
    fake.events = [event(1, "iris")]
    text = overbook("describe", "model", "iris").stdout
    assert "mlserver/1  refused: needs 1M, only 500k of 12M left\n" in text
    assert "            registered 10.97MiB, limit 11.44MiB, budget 9.54MiB, 11 models\n" in text
    assert "mlserver/0: warning: saved with an older version\n" in text
    assert "wanted: 1 replica with room for 976.6KiB\nno server replica has room\n" in text
    assert text.rstrip().endswith("Normal  ModelLoaded  mlserver/0  in 14 ms")


def test_describe_server(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(server("mlserver"))
    assert (
        "evictionPolicy: worth (the default)\n" in overbook("describe", "server", "mlserver").stdout
    )
    chosen = server("mlserver")
    assert isinstance(chosen["spec"], dict)
    chosen["spec"]["evictionPolicy"] = "lru"
    fake.add(chosen)
    told = [
        line
        for line in overbook("describe", "server", "mlserver").stdout.splitlines()
        if line.startswith("evictionPolicy")
    ]
    assert told == ["evictionPolicy: lru"]

    def described() -> str:
        return " ".join(overbook("describe", "server", "mlserver").stdout.split())

    assert "allow: nothing (the default)" in described()
    chosen["spec"]["allow"] = ["log", "trace"]
    fake.add(chosen)
    assert "allow: log, trace " in described()
    fake.add(server("mlserver"))
    fake.registered = [f"m{index}" for index in range(31)]
    text = overbook("describe", "server", "mlserver").stdout
    assert "mlserver/0: 31 models of at most 11.44MiB in all: m0, m1, " in text
    assert ", m29 and 1 more\n" in text
    assert (
        "mlserver/0: REST 127.0.0.1:39001, gRPC 127.0.0.1:39002, process 4242, 256MiB without models"
        in text
    )
    assert "mlserver/0: open: somebody else started it, " in described()
    assert "whoever reaches 127.0.0.1:39001" in described()
    fake.add(server("mlserver", rest="unix:/r", grpc="unix:/g"))
    assert "mlserver/0: held in: nobody but Overbook's user reaches it" in described()
    fake.add(server("mlserver", rest=None, grpc=None))
    assert "held in" not in described()


def test_events(overbook: Overbook, fake: FakeOverbook) -> None:
    failed: JsonObject = {"type": "Warning", "reason": "ModelFailed", "message": "why\nnot"}
    fake.events = [{**event(1, "iris"), **failed}, {**event(2, "wine"), **failed}]
    (line,) = overbook("events", "--model", "wine").stdout.splitlines()
    assert line.endswith("Warning  ModelFailed       model/wine on mlserver/0: why not")
    objects = overbook("events", "-o", "json").stdout.splitlines()
    assert [json.loads(each) for each in objects] == fake.events
    assert overbook("events", "--after", "2").stderr == "no events\n"
