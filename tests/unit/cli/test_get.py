"""`overbook get`: tables, sorting, watching, and manifests that can be applied."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
import yaml

from overbook.cli.reading import replicas
from tests.unit.cli.conftest import Overbook
from tests.unit.client.fake_overbook import FakeOverbook, event, model, server


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


def test_in_a_pipe_nothing_is_cut_and_each_model_has_a_line(
    overbook: Overbook, fake: FakeOverbook
) -> None:
    address = f"s3://models/{'a-folder-of-many-words/' * 12}"
    names = ["iris", "a-model-with-a-name-that-is-much-longer-than-those-of-others-and-goes-on"]
    for name in names:
        fake.add(model(name, ready=False, reason="ModelFailed", message=f"{address}:\nnot allowed"))
    for wide in ((), ("-o", "wide")):
        _, *rows = overbook("get", "models", *wide).stdout.splitlines()
        assert [row.split()[0] for row in rows] == names
        assert all(row.endswith(f"ModelFailed: {address}: not allowed") for row in rows)


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
        *("NAME", "READY", "STATE", "SERVER", "MEMORY", "PINNED", "USED", "DISK", "BUSY"),
        *("LOADS", "EVICTED", "DECLARED", "MEASURED", "PRIORITY", "REQUIREMENTS", "LAST", "REASON"),
    ]
    assert re.search(
        r" yes +2 +3 +1 +100KiB +- +0 +sklearn +ModelLoaded: in 14 ms, \d+d ago$", iris
    )
    assert wine.endswith("  ModelFailed: invalid load key")
    fake.add(server("mlserver"))
    _, row = overbook("get", "servers", "-o", "wide").stdout.splitlines()
    assert row.endswith(
        "1.25GiB  1.25GiB of 10GiB  4242  127.0.0.1:39001  127.0.0.1:39002  ServerReady: 1 of 1 replicas ready"
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
