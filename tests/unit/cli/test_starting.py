"""Commands that hand over to others: which options they pass on. The machine itself is replaced."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from overbook.client.http import JsonObject
from overbook.demo.options import DemoOptions
from overbook.machine.options import (
    ApiOptions,
    AttachOptions,
    MetricsOptions,
    ServeAgentOptions,
    ServeGatewayOptions,
    ServeSchedulerOptions,
    UpOptions,
    default_state_dir,
)
from overbook.runtimes.install import RuntimeInfo, RuntimeInstallError
from tests.unit.cli.conftest import Overbook

MANIFEST = """\
apiVersion: overbook.dev/v1alpha1
kind: Model
metadata: {name: iris}
spec: {storageUri: iris}
"""

Replace = Callable[[str, str, int], list[object]]


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> Replace:
    """Puts a function in place of a module's, which keeps what it is given and returns a code."""

    def replace(module: str, function: str, code: int) -> list[object]:
        calls: list[object] = []

        def called(options: object) -> int:
            calls.append(options)
            return code

        fake = types.ModuleType(module)
        setattr(fake, function, called)
        monkeypatch.setitem(sys.modules, module, fake)
        return calls

    return replace


def test_up_gives_checked_documents(overbook: Overbook, replaced: Replace, tmp_path: Path) -> None:
    calls = replaced("overbook.machine.up", "run_up", 0)
    (tmp_path / "iris.yaml").write_text(MANIFEST)
    options = (
        "--memory",
        "2Gi",
        "--overcommit",
        "100",
        "--state-dir",
        str(tmp_path),
        "--port",
        "1234",
    )
    assert (
        overbook("up", "-f", str(tmp_path / "iris.yaml"), *options, "--api-port", "1235").exit_code
        == 0
    )
    document: JsonObject = {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "iris"},
        "spec": {"storageUri": str(tmp_path / "iris")},
    }
    assert calls == [
        UpOptions(
            state_dir=tmp_path,
            documents=(document,),
            memory=2 * 2**30,
            overcommit=100,
            host="127.0.0.1",
            port=1234,
            api_port=1235,
        )
    ]


def test_up_by_default(
    overbook: Overbook, replaced: Replace, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = replaced("overbook.machine.up", "run_up", 1)
    monkeypatch.setenv("OVERBOOK_STATE_DIR", "/somewhere")
    assert overbook("up").exit_code == 1
    assert calls == [UpOptions(state_dir=Path("/somewhere"))]


def test_up_does_not_start_with_a_wrong_manifest(overbook: Overbook, replaced: Replace) -> None:
    calls = replaced("overbook.machine.up", "run_up", 0)
    result = overbook("up", "-f", "-", stdin=MANIFEST.replace("iris}", ".iris}"))
    assert (result.exit_code, calls) == (1, [])
    assert result.stderr.startswith("<stdin>:3: metadata.name: '.iris' is not a name")


def test_serve_scheduler(overbook: Overbook, replaced: Replace, tmp_path: Path) -> None:
    calls = replaced("overbook.machine.serve", "run_scheduler", 0)
    overbook("serve", "scheduler", "--state-dir", str(tmp_path), "--listen", "unix:/x")
    assert calls == [
        ServeSchedulerOptions(state_dir=tmp_path, host="127.0.0.1", api_port=9001, listen="unix:/x")
    ]


def test_whom_the_control_api_lets_in(overbook: Overbook, replaced: Replace) -> None:
    given = (
        "--allowed-hosts",
        "API.example, *.svc",
        "--cors-origins",
        "https://console.example:8443",
    )
    told = ApiOptions(("api.example", "*.svc"), ("https://console.example:8443",))
    ups = replaced("overbook.machine.up", "run_up", 0)
    schedulers = replaced("overbook.machine.serve", "run_scheduler", 0)
    overbook("up", *given)
    overbook("serve", "scheduler", *given)
    assert [getattr(each, "api", None) for each in (*ups, *schedulers)] == [told, told]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--allowed-hosts", "http://api.example", "is not the name of a host"),
        ("--allowed-hosts", "a.*.example", "is not the name of a host"),
        ("--cors-origins", "*", "is not an origin"),
        ("--cors-origins", "console.example", "is not an origin"),
        ("--cors-origins", "https://console.example/", "is not an origin"),
    ],
)
def test_whom_nobody_can_be(overbook: Overbook, option: str, value: str, said: str) -> None:
    for command in (("up",), ("serve", "scheduler")):
        result = overbook(*command, option, value)
        assert result.exit_code == 2
        assert said in " ".join(result.stderr.split())


def test_serve_agent(overbook: Overbook, replaced: Replace, tmp_path: Path) -> None:
    calls = replaced("overbook.machine.serve", "run_agent", 0)
    options = (
        "--memory",
        "1Gi",
        "--replica",
        "2",
        "--capability",
        "a",
        "--capability",
        "b",
        "--overcommit",
        "0",
    )
    overbook("serve", "agent", "--state-dir", str(tmp_path), *options)
    assert calls == [
        ServeAgentOptions(
            state_dir=tmp_path,
            scheduler="127.0.0.1:9005",
            listen="127.0.0.1:9006",
            server="mlserver",
            replica=2,
            runtime="mlserver",
            memory=2**30,
            overcommit=0,
            capabilities=("a", "b"),
        )
    ]


def test_serve_agent_of_a_server_that_runs_already(
    overbook: Overbook, replaced: Replace, tmp_path: Path
) -> None:
    calls = replaced("overbook.machine.serve", "run_agent", 0)
    agent = ("serve", "agent", "--state-dir", str(tmp_path), "--memory", "1Gi")
    place = ("--repository", str(tmp_path))
    overbook(*agent, "--rest", "h:1", "--grpc", "h:2", *place)
    (given,) = calls
    assert isinstance(given, ServeAgentOptions)
    assert given.attach == AttachOptions("h:1", "h:2", tmp_path)

    some = overbook(*agent, "--rest", "h:1")
    assert some.exit_code == 2
    assert "--rest, --grpc and --repository belong together" in some.output
    wrong = overbook(*agent, "--rest", "h", "--grpc", "h:2", *place)
    assert wrong.exit_code == 2
    assert "--rest: 'h' is not an address; expected host:port" in wrong.output


_UP = (["up"], "overbook.machine.up", "run_up")
_AGENT = (["serve", "agent", "--memory", "1Gi"], "overbook.machine.serve", "run_agent")
_GATEWAY = (["serve", "gateway"], "overbook.machine.serve", "run_gateway")


@pytest.mark.parametrize(
    ("started", "option", "said", "seconds", "wrong"),
    [
        (_UP, "--activation-timeout", ("90s", "10m"), (60.0, 90.0, 600.0), ("0", "61m", "soon")),
        (_GATEWAY, "--activation-timeout", ("90s", "10m"), (60.0, 90.0, 600.0), ("0",)),
        (_UP, "--silence-limit", ("2m", "45s"), (90.0, 120.0, 45.0), ("0", "61m", "soon")),
        (_AGENT, "--silence-limit", ("2m", "45s"), (90.0, 120.0, 45.0), ("0",)),
        (_UP, "--grace", ("2m", "0"), (30.0, 120.0, 0.0), ("-1", "soon")),
        (_AGENT, "--grace", ("2m", "0"), (30.0, 120.0, 0.0), ("soon",)),
        (_GATEWAY, "--grace", ("2m", "0"), (30.0, 120.0, 0.0), ("soon",)),
    ],
)
def test_durations_by_default_by_environment_and_by_option(
    overbook: Overbook,
    replaced: Replace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: tuple[list[str], str, str],
    option: str,
    said: tuple[str, str],
    seconds: tuple[float, float, float],
    wrong: tuple[str, ...],
) -> None:
    command, module, function = started
    calls = replaced(module, function, 0)
    plain = [*command, "--state-dir", str(tmp_path)]
    field = option.removeprefix("--").replace("-", "_")
    assert overbook(*plain).exit_code == 0
    monkeypatch.setenv(f"OVERBOOK_{field.upper()}", said[0])
    assert overbook(*plain).exit_code == 0
    assert overbook(*plain, option, said[1]).exit_code == 0
    assert tuple(getattr(options, field) for options in calls) == seconds
    for each in wrong:
        refused = overbook(*plain, option, each)
        assert refused.exit_code == 2
        assert option in refused.stderr
        assert "such as 90s" in refused.stderr
    assert len(calls) == 3


def test_serve_gateway(overbook: Overbook, replaced: Replace, tmp_path: Path) -> None:
    calls = replaced("overbook.machine.serve", "run_gateway", 0)
    overbook(
        "serve", "gateway", "--state-dir", str(tmp_path), "--port", "8000", "--scheduler", "unix:/x"
    )
    assert calls == [
        ServeGatewayOptions(state_dir=tmp_path, scheduler="unix:/x", host="127.0.0.1", port=8000)
    ]


@pytest.mark.parametrize("started", [_AGENT, _GATEWAY], ids=["agent", "gateway"])
def test_metrics_of_a_part_alone(
    overbook: Overbook, replaced: Replace, tmp_path: Path, started: tuple[list[str], str, str]
) -> None:
    command, module, function = started
    calls = replaced(module, function, 0)
    plain = [*command, "--state-dir", str(tmp_path), "--metrics-port", "9007"]
    assert overbook(*plain).exit_code == 0
    assert overbook(*plain, "--metrics-host", "0.0.0.0").exit_code == 0
    parts = (ServeAgentOptions, ServeGatewayOptions)
    assert [options.metrics for options in calls if isinstance(options, parts)] == [
        MetricsOptions("127.0.0.1", 9007),
        MetricsOptions("0.0.0.0", 9007),
    ]
    assert overbook(*command, "--metrics-port", "0").exit_code == 2


def test_demo(overbook: Overbook, replaced: Replace) -> None:
    calls = replaced("overbook.demo.run", "run_demo", 0)
    overbook("demo")
    overbook("demo", "--models", "5", "--seconds", "2.5", "--keep")
    assert calls == [DemoOptions(), DemoOptions(models=5, seconds=2.5, keep=True)]


def test_state_by_default() -> None:
    home = Path("/home/u")
    assert default_state_dir({}, home) == Path("/home/u/.local/state/overbook")
    assert default_state_dir({"XDG_STATE_HOME": "/s"}, home) == Path("/s/overbook")
    assert default_state_dir({"XDG_STATE_HOME": "/s", "OVERBOOK_STATE_DIR": "/o"}, home) == Path(
        "/o"
    )


def test_runtime_list(overbook: Overbook, monkeypatch: pytest.MonkeyPatch) -> None:
    many = tuple(f"package-{number}=={number}.0" for number in range(12))
    known = [
        RuntimeInfo(
            name="mlserver",
            installed=True,
            path=Path("/r/m"),
            size_bytes=2**30,
            packages=many,
            extras=("onnx",),
            more={"xgboost": ("mlserver-xgboost==1.7", "xgboost-cpu==3.2")},
        ),
        RuntimeInfo("other", False, Path("/r/other"), None, ("a==1",)),
    ]
    monkeypatch.setattr("overbook.runtimes.install.list_runtimes", lambda: known)
    lines = overbook("runtime", "list").stdout.splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["mlserver", "yes", "1GiB", "onnx", "xgboost", "/r/m"],
        ["other", "no", "-", "-", "-", "-"],
    ]
    has, would = lines.index("mlserver has"), lines.index("other would have")
    listed = lines[has + 1 : lines.index("", has)]
    assert all(each.replace("==", " ") in "\n".join(listed) for each in many)
    assert max(map(len, listed)) <= 120
    assert listed[-1] == "  with xgboost: mlserver-xgboost 1.7, xgboost-cpu 3.2"
    assert lines[would + 1] == "  a 1"


def test_runtime_install_shows_each_step_once(
    overbook: Overbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install(
        name: str,
        progress: Callable[[str, float | None], None],
        *,
        extras: frozenset[str],
        packages: tuple[str, ...],
        reinstall: bool,
    ) -> Path:
        progress("downloading", None)
        progress("downloading", 0.5)
        progress("done", 1.0)
        assert extras == {"xgboost", "lightgbm", "mlflow"}
        assert packages == ("scikit-learn==1.6.1",)
        assert reinstall
        return Path("/r") / name

    monkeypatch.setattr("overbook.runtimes.install.install", install)
    result = overbook(
        *("runtime", "install", "mlserver", "--reinstall"),
        *("--with", "xgboost, lightgbm", "--with", "mlflow,scikit-learn==1.6.1,"),
    )
    assert result.stdout == "runtime/mlserver installed at /r/mlserver\n"
    assert result.stderr == "runtime mlserver: downloading\nruntime mlserver: done\n"


def test_runtime_failures_are_one_line(overbook: Overbook, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeInstallError("no network; connect once and run it again")

    monkeypatch.setattr("overbook.runtimes.install.install", fail)
    result = overbook("runtime", "install", "mlserver")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: no network; connect once and run it again\n",
    )
    monkeypatch.setattr("overbook.runtimes.install.list_runtimes", fail)
    assert overbook("runtime", "list").stderr == result.stderr
    wrong = overbook("runtime", "install", "mlserver", "--with", "scikit-learn=1")
    assert "is not a requirement" in wrong.stderr
    unknown = overbook("runtime", "remove", "nope")
    assert unknown.exit_code == 1
    assert len(unknown.stderr.splitlines()) == 1


def test_runtime_remove(overbook: Overbook, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [True, False]
    monkeypatch.setattr("overbook.runtimes.install.remove", lambda name: answers.pop(0))
    assert overbook("runtime", "remove", "mlserver").stdout == "runtime/mlserver removed\n"
    assert (
        overbook("runtime", "remove", "mlserver").stdout == "runtime/mlserver was not installed\n"
    )


@pytest.mark.parametrize("started", [_UP, _AGENT])
def test_a_folder_of_secrets_by_option_and_by_environment(
    overbook: Overbook,
    replaced: Replace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: tuple[list[str], str, str],
) -> None:
    arguments, module, function = started
    calls = replaced(module, function, 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secrets").mkdir()
    overbook(*arguments)
    overbook(*arguments, "--secrets", "secrets")
    monkeypatch.setenv("OVERBOOK_SECRETS", str(tmp_path / "secrets"))
    overbook(*arguments)
    given = [
        each.artifacts.secrets for each in calls if isinstance(each, UpOptions | ServeAgentOptions)
    ]
    assert given == [None, tmp_path / "secrets", tmp_path / "secrets"]
    result = overbook(*arguments, "--secrets", "nowhere")
    assert result.exit_code == 2
    assert "Directory 'nowhere' does not exist" in result.output
