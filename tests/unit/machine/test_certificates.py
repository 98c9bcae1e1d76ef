"""Certificates of a process, from its start to its end."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from overbook.machine.certificates import followed, peered
from overbook.tls import following
from overbook.tls.authority import issue, make_authority
from overbook.tls.pair import Pair, TlsUnusable
from overbook.wire.in_process import NotPrivate
from tests.unit.tls.certificates import HOSTS, peer_files, put, server_files


async def test_without_files_there_is_none() -> None:
    async with followed(None) as pair:
        assert pair is None


async def test_what_is_wrong_is_raised_at_the_start(tmp_path: Path) -> None:
    files = server_files(tmp_path, now=time.time())
    files.key.unlink()
    with pytest.raises(TlsUnusable, match="cannot be read"):
        async with followed(files):
            pass


async def test_a_new_pair_is_handed_on_and_one_that_fails_does_not_keep_others_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.001)
    now = time.time()
    taken: asyncio.Queue[Pair] = asyncio.Queue()

    def failing(_: Pair) -> None:
        raise RuntimeError("no")

    async with followed(server_files(tmp_path, now=now)) as pair:
        assert pair is not None
        pair.on_change(failing)
        pair.on_change(taken.put_nowait)
        made = issue(make_authority("test", now), "server", now, hosts=HOSTS, server=True)
        put(tmp_path, "server", made)
        async with asyncio.timeout(5):
            assert (await taken.get()).certificate == made.certificate
    assert "it could not be put in use" in caplog.text


async def test_parts_do_not_meet_in_plain_where_others_could_listen(tmp_path: Path) -> None:
    near = {"listen": "127.0.0.1:9006", "scheduler": "unix:/run/x.sock"}
    far = near | {"scheduler": "overbook.example:9005"}
    async with peered(None, **near) as peers:
        assert peers is None
    with pytest.raises(NotPrivate, match=r"^--scheduler overbook\.example:9005: others than this"):
        async with peered(None, **far):
            pass
    async with peered(peer_files(tmp_path), **far) as peers:
        assert peers is not None
        assert peers.current.client_ca
    with pytest.raises(TlsUnusable, match=r"it is for other\.example; expected one that is for"):
        async with peered(peer_files(tmp_path, named="other.example"), **near):
            pass
