"""By which file the command line finds an Overbook with TLS."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from overbook.machine.here import HERE, Here, found, told
from overbook.tls.authority import issue, make_authority
from overbook.tls.following import FollowedPair
from tests.unit.tls.certificates import HOSTS, NOW, put, server_files

API, DATA = "https://127.0.0.1:9001", "https://127.0.0.1:9000"


def test_it_is_there_while_it_runs_for_this_user_alone(tmp_path: Path) -> None:
    followed = FollowedPair(server_files(tmp_path), lambda: NOW)
    with told(tmp_path, API, DATA, followed):
        certificate = (tmp_path / "server.pem").read_text()
        assert found(tmp_path) == Here(API, DATA, certificate, "localhost")
        assert stat.S_IMODE((tmp_path / HERE).stat().st_mode) == 0o600
    assert found(tmp_path) is None


async def test_it_has_the_certificate_that_is_in_use(tmp_path: Path) -> None:
    followed = FollowedPair(server_files(tmp_path), lambda: NOW)
    with told(tmp_path, API, DATA, followed):
        made = issue(make_authority("test", NOW), "server", NOW, hosts=HOSTS, server=True)
        put(tmp_path, "server", made)
        assert followed.look()
        followed.hand_on()
        here = found(tmp_path)
        assert here is not None
        assert here.certificate.encode() == made.certificate


def test_without_tls_there_is_none_and_an_old_one_goes(tmp_path: Path) -> None:
    (tmp_path / HERE).write_text("{}")
    with told(tmp_path, API, DATA, None):
        assert not (tmp_path / HERE).exists()


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", json.dumps({"api": 1, "data": "", "certificate": "", "name": ""})]
)
def test_what_is_none_is_not_used(tmp_path: Path, content: str) -> None:
    (tmp_path / HERE).write_text(content)
    assert found(tmp_path) is None
