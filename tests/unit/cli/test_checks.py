"""What doctor finds: on this machine, at a running Overbook, and at ports that others have."""

from __future__ import annotations

import collections
import shutil
import socket
import sys
from pathlib import Path

import pytest

from overbook.cli import checks
from overbook.cli.checks import (
    Check,
    Level,
    check_disk,
    check_envoy,
    check_python,
    check_running,
    check_state,
    check_user,
)
from tests.unit.cli.conftest import Overbook
from tests.unit.client.fake_overbook import FakeOverbook
from tests.unit.client.tls_server import certificates, serving

Usage = collections.namedtuple("Usage", ["total", "used", "free"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def running(api_url: str, url: str) -> list[Check]:
    return list(check_running(api_url, url))


def test_python() -> None:
    assert check_python((3, 11)).level is Level.OK
    assert check_python((3, 10)).level is Level.FAIL


@pytest.mark.parametrize(
    ("free", "level"), [(100 * 2**20, Level.FAIL), (2**30, Level.WARN), (10 * 2**30, Level.OK)]
)
def test_disk_where_the_state_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: Level
) -> None:
    asked = []

    def usage(path: Path) -> Usage:
        asked.append(path)
        return Usage(0, 0, free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert check_disk(tmp_path / "not" / "yet").level is level
    assert asked == [tmp_path]


@pytest.mark.parametrize(
    ("mode", "level", "found"),
    [
        (None, Level.OK, "will be made, for its user alone"),
        (0o700, Level.OK, "is for its user alone"),
        (0o750, Level.WARN, "is open to others (mode 0750)"),
    ],
)
def test_who_may_look_into_the_state_folder(
    tmp_path: Path, mode: int | None, level: Level, found: str
) -> None:
    folder = tmp_path / "state"
    if mode is not None:
        folder.mkdir()
        folder.chmod(mode)
    check = check_state(folder)
    assert (check.level, check.found) == (level, f"{folder} {found}")
    assert check.advice == (f"run: chmod 700 {folder}" if level is Level.WARN else "")


def test_a_state_folder_that_cannot_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check = check_state(tmp_path / "file" / "state")
    assert (check.level, "Not a directory" in check.found) == (Level.FAIL, True)


def test_what_models_code_runs_as() -> None:
    assert check_user(0).level is Level.WARN
    assert "a user of its own" in check_user(0).advice
    assert check_user(1000).level is Level.OK
    assert "as this user (1000)" in check_user(1000).found


@pytest.mark.parametrize(
    ("script", "level", "found"),
    [
        ("echo; echo 'envoy  version: abc/1.40.0/Clean/RELEASE/BoringSSL'", Level.OK, "1.40.0 at "),
        ("echo 'GLIBC_2.99 not found' >&2; exit 1", Level.FAIL, "failed: GLIBC_2.99 not found"),
        ("exit 0", Level.FAIL, "failed: no output"),
    ],
)
def test_envoy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, level: Level, found: str
) -> None:
    program = tmp_path / "envoy"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    check = check_envoy()
    assert check.level is level
    assert found in check.found


def test_envoy_that_is_not_there_or_is_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (check_envoy().level, check_envoy().found) == (Level.FAIL, "not found")
    (tmp_path / "envoy").write_text("text")
    assert "does not run" in check_envoy().found


def test_a_running_overbook(fake: FakeOverbook) -> None:
    assert [each.level for each in running(fake.url, fake.url)] == [Level.OK, Level.OK]
    fake.ready = False
    assert [each.level for each in running(fake.url, fake.url)] == [Level.WARN, Level.OK]


def test_a_running_overbook_without_its_data_plane(fake: FakeOverbook) -> None:
    _, data = running(fake.url, f"http://127.0.0.1:{free_port()}")
    assert data.level is Level.FAIL
    assert "gateway/envoy.log" in data.advice


def test_nothing_running_and_ports_free_or_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        free, taken = free_port(), other.getsockname()[1]
        api, data = running(f"http://127.0.0.1:{free}", f"http://127.0.0.1:{taken}")
    assert (api.level, api.found) == (
        Level.OK,
        f"not running; port {free} is free for `overbook up`",
    )
    assert data.level is Level.FAIL
    assert data.advice == f"another program has port {taken}: stop it, or choose another --port"


def test_another_program_at_the_address(fake: FakeOverbook) -> None:
    fake.raw["/api/v1/version"] = (200, b"<html>")
    (api,) = running(fake.url, fake.url)
    assert api.level is Level.FAIL


def test_an_overbook_with_tls_that_is_asked_in_plain(tmp_path: Path) -> None:
    made = certificates(tmp_path)
    with serving(*made.signed("server", hosts=("127.0.0.1",))) as url:
        (api,) = running(url.replace("https", "http"), url)
    assert (api.level, api.advice) == (Level.FAIL, "see overbook tls --help")
    assert "speaks TLS only; ask by https://" in api.found


def test_an_address_that_is_none() -> None:
    (api,) = running("ftp://x", "http://x")
    assert api.level is Level.FAIL


@pytest.mark.parametrize(("level", "code"), [(Level.OK, 0), (Level.WARN, 0), (Level.FAIL, 1)])
def test_doctor_fails_when_a_check_does(
    overbook: Overbook, monkeypatch: pytest.MonkeyPatch, level: Level, code: int
) -> None:
    found = (Check("python", Level.OK, "3.11"), Check("disk", level, "1Gi free", "free some space"))
    monkeypatch.setattr(checks, "run_checks", lambda **_: found)
    result = overbook("doctor")
    assert result.exit_code == code
    assert result.stdout.splitlines() == [
        "ok    python  3.11",
        f"{level.value:<4}  disk    1Gi free",
        "              → free some space",
    ]
    assert (result.stderr == "Error: 1 check failed; see above for what to do\n") == (code == 1)
