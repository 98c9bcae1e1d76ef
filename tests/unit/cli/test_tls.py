"""`overbook tls init`: what it says of what it did."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from overbook.tls.files import TlsFiles
from overbook.tls.pair import read_pair
from tests.unit.cli.conftest import Overbook


def test_it_makes_says_and_keeps(overbook: Overbook, tmp_path: Path) -> None:
    where = tmp_path / "tls"
    first = overbook("tls", "init", "--dir", str(where), "--name", "Overbook.example")
    assert first.exit_code == 0, first.output
    assert f"made      {where}/ca.key  (its key)" in first.output
    assert f"overbook up --tls-cert {where}/server.pem --tls-key {where}/server.key" in first.output
    pair = read_pair(TlsFiles(where / "server.pem", where / "server.key"), time.time())
    assert set(pair.names) == {
        *("localhost", "127.0.0.1", "::1"),
        *(socket.gethostname(), "overbook.example"),
    }
    second = overbook("tls", "init", "--dir", str(where))
    assert second.exit_code == 0
    assert second.output.count("kept") == 10
    assert (
        "all of it is there, and nothing was made; --renew makes new certificates" in second.output
    )
    third = overbook("tls", "init", "--dir", str(where), "--renew")
    assert third.output.count("replaced") == 6
    assert third.output.count("kept") == 4


def test_the_folder_is_in_the_state_folder(
    overbook: Overbook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERBOOK_STATE_DIR", str(tmp_path / "state"))
    assert overbook("tls", "init").exit_code == 0
    assert (tmp_path / "state" / "tls" / "server.pem").exists()
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


def test_what_is_wrong_is_told(overbook: Overbook, tmp_path: Path) -> None:
    refused = overbook("tls", "init", "--dir", str(tmp_path), "--name", "http://x")
    assert refused.exit_code == 2
    assert (
        "'http://x' is no name of a host; expected one such as overbook.example" in refused.output
    )
    (tmp_path / "ca.pem").write_text("")
    half = overbook("tls", "init", "--dir", str(tmp_path))
    assert half.exit_code == 1
    assert half.output.startswith(
        f"Error: {tmp_path}/ca.pem is there, and {tmp_path}/ca.key is not"
    )
    (tmp_path / "file").write_text("")
    nowhere = overbook("tls", "init", "--dir", str(tmp_path / "file" / "x"))
    assert nowhere.exit_code == 1
    assert "Not a directory; give another folder with --dir" in nowhere.output


def test_a_machine_that_no_certificate_can_name(
    overbook: Overbook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "größe 1")
    made = overbook("tls", "init", "--dir", str(tmp_path))
    assert made.exit_code == 0, made.output
    assert f"{tmp_path}/server.pem is for localhost, 127.0.0.1, ::1\nvalid for" in made.output


def test_names_of_a_certificate_that_is_kept_are_not_those_given(
    overbook: Overbook, tmp_path: Path
) -> None:
    assert overbook("tls", "init", "--dir", str(tmp_path)).exit_code == 0
    for end in ("pem", "key"):
        (tmp_path / f"client.{end}").unlink()
    again = overbook("tls", "init", "--dir", str(tmp_path), "--name", "new.example")
    assert again.exit_code == 0
    assert "is for" not in again.output
    assert f"{tmp_path}/server.pem was kept, with the names that it has; --renew" in again.output
