"""The command as a whole: help, exit codes, addresses, and what it may import."""

from __future__ import annotations

import re
import socket
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from overbook.cli.main import main
from tests.unit.cli.conftest import Overbook
from tests.unit.client.fake_overbook import FakeOverbook, model, running

COMMANDS = main.list_commands(click.Context(main))


def subcommands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        found.append((name,))
        if isinstance(command, click.Group):
            found.extend((name, each) for each in command.commands)
    return found


@pytest.mark.parametrize("path", subcommands(), ids=" ".join)
def test_every_command_helps_with_an_example(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0
    assert f"\n  overbook {' '.join(path)}" in result.output


def test_help_lists_commands_with_whole_sentences() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    listed = result.output.split("Commands:\n")[1].splitlines()
    assert [line.split()[0] for line in listed] == COMMANDS
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def test_what_secret_can_do_is_told_in_whole_sentences() -> None:
    listed = CliRunner().invoke(main, ["secret", "--help"]).output.split("Commands:\n")[1]
    assert all(line.endswith(".") and not line.endswith("...") for line in listed.splitlines())


@pytest.mark.parametrize("command", [("up",), ("serve", "agent")])
def test_the_units_of_what_fetches_may_take_are_told(command: tuple[str, ...]) -> None:
    words = " ".join(CliRunner().invoke(main, [*command, "--help"]).output.split())
    assert "in bytes, such as 200Gi or 5e11;" in words
    assert "bytes per second at most, all together, such as 50Mi (about 420 Mbit/s)." in words


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("get",),
        ("get", "pods"),
        ("get", "models", "-o", "xml"),
        ("apply",),
        ("wait", "model", "iris", "--timeout", "soon"),
        ("wait", "server", "s"),
        ("delete",),
        ("delete", "model"),
        ("delete", "model", "iris", "-f", "x.yaml"),
        ("infer", "iris", "{"),
        ("infer", "iris", "[]"),
        ("infer", "iris", "@/no/such/file"),
        ("infer", "iris", '{"inputs": []}', "-n", "0"),
        ("up", "--memory", "100Qi"),
        ("up", "--memory", "0"),
        ("up", "--port", "70000"),
        ("up", "--overcommit", "-1"),
        ("serve", "agent"),
        ("get", "models", "--api-url", "ftp://x"),
    ],
)
def test_wrong_usage_is_2(overbook: Overbook, arguments: tuple[str, ...]) -> None:
    result = overbook(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (("gte", "models"), "'get'"),
        (("descirbe", "model", "x"), "'describe'"),
        (("log", "mlserver"), "'logs'"),
        (("serve", "schedular"), "'scheduler'"),
        (("get", "modles"), "'models'"),
        (("get", "models", "--otput", "json"), "'--output'"),
    ],
)
def test_who_mistypes_is_told_what_was_meant(
    overbook: Overbook, typed: tuple[str, ...], meant: str
) -> None:
    result = overbook(*typed)
    assert result.exit_code == 2
    assert re.search(rf"Did you mean (one of: .*)?{meant}", result.stderr)


def test_nobody_there_is_1_with_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        result = CliRunner().invoke(main, ["get", "models", "--api-url", url])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"Error: no Overbook answers at {url}; start one with `overbook up`, "
        "or name another with --api-url or OVERBOOK_API_URL"
    ]


def test_the_address_may_stand_before_or_after_the_command(fake: FakeOverbook) -> None:
    fake.add(model("iris"))
    with running() as other:
        environment = {"OVERBOOK_API_URL": other.url}
        for arguments in (
            ["--api-url", fake.url, "get", "models"],
            ["get", "models", "--api-url", fake.url],
        ):
            result = CliRunner().invoke(main, [*arguments, "-o", "name"], env=environment)
            assert result.stdout == "model/iris\n"
        assert other.requests == []


def test_version(overbook: Overbook, fake: FakeOverbook) -> None:
    from overbook import __version__

    assert overbook("version").stdout == f"overbook {__version__}\nrunning  9.8.7 at {fake.url}\n"
    assert overbook("--version").stdout == f"overbook {__version__}\n"


def test_version_with_nothing_running(overbook: Overbook) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        result = overbook("version", "--api-url", f"127.0.0.1:{taken.getsockname()[1]}")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1


SLOW = ("httpx", "grpc", "pydantic", "rich", "yaml", "asyncio", "fastapi", "psutil")
GET = f"""
import sys
from overbook.cli.main import main
try:
    main(["get", "models", "--api-url", "http://127.0.0.1:1"])
except SystemExit:
    print([module for module in {SLOW!r} if module in sys.modules])
"""


def test_get_imports_nothing_slow() -> None:
    done = subprocess.run(
        [sys.executable, "-c", GET], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "[]\n"
    assert done.stderr.startswith("Error: no Overbook answers")
