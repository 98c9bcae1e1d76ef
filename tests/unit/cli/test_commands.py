"""Commands that read and change a running Overbook: what they send, print, and exit with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from overbook.cli.reading import replicas
from overbook.client.control import ControlClient, LogPage
from overbook.client.http import JsonObject
from tests.unit.cli.conftest import Overbook
from tests.unit.client.fake_overbook import FakeOverbook, event, model, server

REQUEST: JsonObject = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1.5, 2.5]}]
}


def manifest(name: str, **spec: object) -> str:
    document = {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name},
        "spec": {"storageUri": "/", **spec},
    }
    return f"{json.dumps(document)}\n---\n"


def test_get_table(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(
        model("iris"), model("wine", ready=False, reason="ModelFailed", message="invalid\nload key")
    )
    header, iris, wine = overbook("get", "models").stdout.splitlines()
    assert header.split() == [
        *("NAME", "READY", "STATE", "SERVER", "MEMORY", "PINNED", "USED", "REASON")
    ]
    assert iris.split()[:5] == ["iris", "True", "resident", "mlserver/0", "100KiB"]
    assert wine.endswith("ModelFailed: invalid load key")


def test_get_servers(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(server("mlserver"))
    _, row = overbook("get", "server").stdout.splitlines()
    assert row.split() == ["mlserver/0", "ready", "40", "12", "1GiB", "3GiB", "2GiB", "1.25GiB"]


def test_get_json_and_yaml_are_what_the_api_said(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris"))
    assert json.loads(overbook("get", "models", "-o", "json").stdout) == [model("iris")]
    assert yaml.safe_load(overbook("get", "models", "-o", "yaml").stdout) == [model("iris")]
    assert json.loads(overbook("get", "model", "iris", "-o", "json").stdout) == model("iris")
    assert overbook("get", "models", "-o", "name").stdout == "model/iris\n"


def test_get_nothing_says_so_beside_the_output(overbook: Overbook) -> None:
    result = overbook("get", "models")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "no models; apply one with `overbook apply -f FILE`\n"
    assert overbook("get", "models", "-o", "json").stdout == "[]\n"


def test_get_unknown(overbook: Overbook) -> None:
    result = overbook("get", "model", "iris")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: model 'iris' is not registered; see `overbook get models`\n"


def test_what_get_prints_can_be_applied(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris"))
    listed = overbook("get", "models", "-o", "yaml").stdout
    assert overbook("apply", "-f", "-", stdin=listed).stdout == "model/iris unchanged\n"


def test_a_manifest_is_what_apply_takes(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris"), server("mlserver"))
    one = yaml.safe_load(overbook("get", "model", "iris", "-o", "manifest").stdout)
    assert one == {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "iris"},
        "spec": model("iris")["spec"],
    }
    fake.add(model("wine"))
    listed = overbook("get", "models", "-o", "manifest").stdout
    assert [each["metadata"] for each in yaml.safe_load_all(listed)] == [
        {"name": "iris"},
        {"name": "wine"},
    ]
    said = overbook("apply", "-f", "-", stdin=listed).stdout
    assert said == "model/iris unchanged\nmodel/wine unchanged\n"
    servers = overbook("get", "servers", "-o", "manifest").stdout
    assert overbook("apply", "-f", "-", stdin=servers).stdout == "server/mlserver unchanged\n"


def test_get_wide_says_what_happened_last(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(
        model("iris"), model("wine", ready=False, reason="ModelFailed", message="invalid load key")
    )
    fake.events = [{**event(1, "iris"), "reason": "ModelEvicted"}, event(2, "iris")]
    header, iris, wine = overbook("get", "models", "-o", "wide").stdout.splitlines()
    assert header.split() == [
        *("NAME", "READY", "STATE", "SERVER", "MEMORY", "PINNED", "USED", "BUSY", "LOADS"),
        *("EVICTED", "DECLARED", "MEASURED", "PRIORITY", "REQUIREMENTS", "LAST", "REASON"),
    ]
    assert re.search(r" 2 +3 +1 +100KiB +- +0 +sklearn +ModelLoaded: in 14 ms, \d+d ago$", iris)
    assert wine.endswith("  ModelFailed: invalid load key")
    fake.add(server("mlserver"))
    _, row = overbook("get", "servers", "-o", "wide").stdout.splitlines()
    assert row.endswith(
        "4242  127.0.0.1:39001  127.0.0.1:39002  ServerReady: 1 of 1 replicas ready"
    )


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ((), ["b", "a", "c"]),
        (("-r",), ["c", "b", "a"]),
        (("--sort", "name"), ["a", "b", "c"]),
        (("--sort", "memory"), ["c", "a", "b"]),
        (("--sort", "BYTES", "-r"), ["b", "a", "c"]),
        (("--sort", "last-used"), ["a", "c", "b"]),
        (("--sort", "last_used", "-r"), ["c", "a", "b"]),
        (("--sort", "loads"), ["c", "b", "a"]),
        (("--sort", "pinned", "-r"), ["a", "b", "c"]),
    ],
)
def test_get_sorts(
    overbook: Overbook, fake: FakeOverbook, arguments: tuple[str, ...], names: list[str]
) -> None:
    for name, charged, used, loads in (
        ("b", 2**30, None, 2),
        ("a", 9_000_000, "2026-01-02T03:04:05Z", 10),
        ("c", 1000, "2026-02-02T03:04:05Z", 1),
    ):
        thing = model(name)
        [replica] = replicas(thing)
        replica["bytes"] = {"declared": None, "measured": None, "charged": charged}
        replica |= {"lastUsed": used, "loads": loads}
        spec = thing["spec"]
        assert isinstance(spec, dict)
        spec["pinned"] = name == "a"
        fake.add(thing)
    said = overbook("get", "models", "-o", "name", *arguments).stdout
    assert said.split() == [f"model/{name}" for name in names]


def test_an_unknown_column_names_those_there_are(overbook: Overbook) -> None:
    result = overbook("get", "servers", "--sort", "loads")
    assert result.exit_code == 2
    assert (
        "'loads' is not a column of servers; expected one of: name, state, models" in result.stderr
    )


def test_a_watch_shows_what_changes_and_what_goes(
    overbook: Overbook, fake: FakeOverbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add(model("iris"), model("wine"))

    def next_turn(_: float) -> None:
        """What happens between two looks; the last is the person's Ctrl-C."""
        steps.pop(0)()

    def stop() -> None:
        raise KeyboardInterrupt

    [iris] = replicas(fake.objects["models"]["iris"])
    steps: list[Callable[[], object]] = [
        lambda: iris.update(lastUsed="2026-03-02T03:04:05Z", inFlight=9),
        lambda: iris.update(state="cold"),
        lambda: fake.objects["models"].pop("wine"),
        stop,
    ] * 2
    monkeypatch.setattr("time.sleep", next_turn)
    result = overbook("get", "models", "-w")
    assert result.exit_code == 0
    assert [line.split()[:3] for line in result.stdout.splitlines()] == [
        ["NAME", "READY", "STATE"],
        ["iris", "True", "resident"],
        ["wine", "True", "resident"],
        ["iris", "True", "cold"],
        ["wine", "deleted"],
    ]
    fake.add(model("wine"))
    result = overbook("get", "models", "-w", "-o", "json")
    assert [json.loads(line)["metadata"]["name"] for line in result.stdout.splitlines()] == [
        *("iris", "wine")
    ]
    assert result.stderr == "model/wine deleted\n"


def test_logs_of_a_server(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(server("mlserver"))
    fake.logs["mlserver/0"] = [["one", "\x1b[31mtwo"]]
    result = overbook("logs", "mlserver", "-n", "5")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "one\n\x1b[31mtwo\n", "what is no terminal gets it as it is"
    assert "lines=5" in fake.requests[-1][1]
    assert overbook("logs", "mlserver/0").stdout == result.stdout


def test_logs_of_several_replicas_say_whose_line_it_is(
    overbook: Overbook, fake: FakeOverbook
) -> None:
    thing = server("mlserver")
    [replica] = replicas(thing)
    status = thing["status"]
    assert isinstance(status, dict)
    status["replicas"] = [replica, {**replica, "replica": 1}]
    fake.add(thing)
    fake.logs["mlserver/1"] = [["one"]]
    result = overbook("logs", "mlserver")
    assert result.exit_code == 1
    assert result.stdout == "mlserver/1 | one\n"
    assert result.stderr == "Error: the agent of mlserver/0 is not connected; try again\n"


def test_logs_of_a_model_begin_with_its_events(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris"), server("mlserver"))
    fake.events = [event(1, "iris")]
    fake.logs["mlserver/0"] = [["Loaded model 'iris'"]]
    first, second = overbook("logs", "model/iris").stdout.splitlines()
    assert first.endswith("ModelLoaded       model/iris on mlserver/0: in 14 ms")
    assert second == "Loaded model 'iris'"
    assert "model=iris" in fake.requests[-1][1]
    fake.events, fake.logs["mlserver/0"] = [], [[]]
    assert overbook("logs", "model/iris").stderr == (
        "nothing about 'iris' in /state/mlserver-0/server.log\n"
    )


def test_logs_that_are_followed(
    overbook: Overbook, fake: FakeOverbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add(server("mlserver"))
    fake.logs["mlserver/0"] = [["one"], ["two"], ["three"], []]
    pages = fake.logs["mlserver/0"]
    log = ControlClient.log

    def until_the_end(client: ControlClient, *args: Any, **named: Any) -> LogPage:
        if len(pages) == 1:
            raise KeyboardInterrupt
        return log(client, *args, **named)

    monkeypatch.setattr(ControlClient, "log", until_the_end)
    result = overbook("logs", "-f", "mlserver")
    assert (result.exit_code, result.stdout) == (0, "one\ntwo\nthree\n")
    assert "after=life%3A7" in fake.requests[-1][1]
    assert "wait=20" in fake.requests[-1][1]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("iris", "Error: 'iris' is a model, not a server; try `overbook logs model/iris`"),
        ("rose", "Error: server 'rose' is not registered; see `overbook get servers`"),
        ("model/rose", "Error: model 'rose' is not registered; see `overbook get models`"),
        ("a/b", "Error: 'a/b' is not a server; expected SERVER, SERVER/NUMBER or model/NAME"),
        ("model/lost", "Error: model/lost is on no server replica, so it has no log"),
    ],
)
def test_logs_of_what_is_none(
    overbook: Overbook, fake: FakeOverbook, target: str, said: str
) -> None:
    lost = model("lost")
    lost["status"] = {"conditions": [], "final": False, "replicas": []}
    fake.add(model("iris"), lost)
    result = overbook("logs", target)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"{said}\n")


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


def test_metadata(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris"))
    assert overbook("metadata", "iris").stdout.splitlines() == [
        "Name:      iris",
        "Platform:  sklearn",
        "Versions:  1",
        "",
        "Inputs",
        "NAME  DATATYPE  SHAPE",
        "x     FP32      ? x 4",
        "",
        "Outputs",
        "not known; the model's files do not say",
    ]
    said = json.loads(overbook("metadata", "iris", "-o", "json").stdout)
    assert said["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert overbook("metadata", "rose").stderr == "Error: model 'rose' is not registered\n"


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
        "Error: pinned models fill the budget: 2GiB of 2GiB\n",
    )


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


def test_events(overbook: Overbook, fake: FakeOverbook) -> None:
    failed: JsonObject = {"type": "Warning", "reason": "ModelFailed", "message": "why\nnot"}
    fake.events = [{**event(1, "iris"), **failed}, {**event(2, "wine"), **failed}]
    (line,) = overbook("events", "--model", "wine").stdout.splitlines()
    assert line.endswith("Warning  ModelFailed       model/wine on mlserver/0: why not")
    objects = overbook("events", "-o", "json").stdout.splitlines()
    assert [json.loads(each) for each in objects] == fake.events
    assert overbook("events", "--after", "2").stderr == "no events\n"


def test_infer(overbook: Overbook, fake: FakeOverbook, tmp_path: Path) -> None:
    fake.add(model("iris"))
    text = json.dumps(REQUEST)
    file = tmp_path / "request.json"
    file.write_text(text)
    for given in (text, f"@{file}", "-"):
        result = overbook("infer", "iris", given, stdin=text)
        assert json.loads(result.stdout) == {"model_name": "iris", "outputs": REQUEST["inputs"]}
    assert len(result.stdout.splitlines()) == 6


def test_infer_failures(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.refusals["broken"] = (503, "load failed: invalid load key")
    result = overbook("infer", "broken", json.dumps(REQUEST))
    assert (result.exit_code, result.stderr) == (1, "Error: load failed: invalid load key\n")
    assert overbook("infer", "nope", json.dumps(REQUEST)).exit_code == 1


def test_infer_sends_headers(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris"))
    overbook("infer", "iris", json.dumps(REQUEST), "-H", "x-request-id: 7", "-H", "a:b: c")
    assert {"x-request-id": "7", "a": "b: c"}.items() <= fake.headers[-1].items()
    wrong = overbook("infer", "iris", json.dumps(REQUEST), "-H", "no header")
    assert wrong.exit_code == 2
    assert "'no header' is not a header; expected 'NAME: VALUE'" in wrong.stderr


def test_infer_for_some_time(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris"))
    result = overbook("infer", "iris", json.dumps(REQUEST), "--seconds", "0.05")
    assert result.exit_code == 0
    assert re.match(r"\d+ requests? in \d+\.\d\d s \(\d+/s\), 0 errors\nfirst ", result.stdout)
    both = overbook("infer", "iris", json.dumps(REQUEST), "--seconds", "60", "-n", "2")
    assert both.stdout.startswith("2 requests in ")


def test_infer_a_file_of_requests(overbook: Overbook, fake: FakeOverbook, tmp_path: Path) -> None:
    fake.add(model("iris"))
    path = tmp_path / "requests.jsonl"
    second = {"inputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [7.0]}]}
    path.write_text(f"{json.dumps(REQUEST)}\n\n{json.dumps(second)}\n")
    result = overbook("infer", "iris", "-f", str(path))
    assert result.exit_code == 0
    answers = [json.loads(line)["outputs"] for line in result.stdout.splitlines()]
    assert answers == [REQUEST["inputs"], second["inputs"]]
    assert re.match(r"2 requests in .*, 0 errors\nfirst .*p50 .*p99 .*max ", result.stderr)
    assert overbook("infer", "iris", "-f", "-", stdin=path.read_text()).stdout == result.stdout
    often = overbook("infer", "iris", "-f", str(path), "-n", "5")
    assert often.stdout.startswith("5 requests in ")
    fake.refusals["broken"] = (500, "no")
    failed = overbook("infer", "broken", "-f", str(path))
    assert (failed.exit_code, failed.stdout) == (1, "")
    lines = failed.stderr.splitlines()
    assert lines[:2] == [f"{path}:1: no", f"{path}:3: no"]
    assert lines[-1] == "Error: 2 of 2 requests failed"


def test_a_wrong_file_of_requests_asks_nothing(
    overbook: Overbook, fake: FakeOverbook, tmp_path: Path
) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(f"{json.dumps(REQUEST)}\nnonsense\n[]\n")
    result = overbook("infer", "iris", "-f", str(path))
    assert result.exit_code == 1
    first, second = result.stderr.splitlines()
    assert first.startswith(f"{path}:2: not JSON: ")
    assert second.startswith(f"{path}:3: expected an Open Inference Protocol request")
    path.write_text("\n")
    empty = overbook("infer", "iris", "-f", str(path)).stderr
    assert empty == f"Error: {path}: no requests in it; expected a JSON object on each line\n"
    assert "cannot be read" in overbook("infer", "iris", "-f", str(tmp_path / "none")).stderr
    assert overbook("infer", "iris").exit_code == 2
    assert overbook("infer", "iris", json.dumps(REQUEST), "-f", str(path)).exit_code == 2
    assert fake.requests == []


def test_infer_many_times(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris"))
    result = overbook("infer", "iris", json.dumps(REQUEST), "-n", "20")
    first, second = result.stdout.splitlines()
    assert first.startswith("20 requests in ")
    assert first.endswith("0 errors")
    assert [each.split()[0] for each in second.split(", ")] == ["first", "p50", "p99", "max"]
    fake.refusals["iris"] = (503, "busy")
    failed = overbook("infer", "iris", json.dumps(REQUEST), "-n", "3")
    assert failed.exit_code == 1
    assert failed.stdout.rstrip().endswith("3 errors")
    assert failed.stderr == "Error: busy\n"
