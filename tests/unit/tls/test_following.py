"""Files that change under a pair in use: what is good is taken, what is not is told once."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from overbook.tls.authority import issue, make_authority
from overbook.tls.following import FollowedPair
from overbook.tls.pair import TlsUnusable
from tests.unit.tls.certificates import DAY, HOSTS, NOW, put, server_files


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def replace(folder: Path, now: float = NOW, *, key: bool = True, certificate: bool = True) -> None:
    made = issue(make_authority("test", now), "server", now, hosts=HOSTS, server=True)
    new, new_key = put(folder, "new", made)
    if key:
        new_key.rename(folder / "server.key")
    if certificate:
        new.rename(folder / "server.pem")


def test_what_is_wrong_at_the_start_is_raised(tmp_path: Path, clock: Clock) -> None:
    files = server_files(tmp_path)
    files.key.write_text("")
    with pytest.raises(TlsUnusable, match="no key can be read"):
        FollowedPair(files, clock)


def test_a_new_pair_is_taken_and_told(
    tmp_path: Path, clock: Clock, said: pytest.LogCaptureFixture
) -> None:
    followed = FollowedPair(server_files(tmp_path), clock)
    first = followed.current
    assert not followed.look()
    replace(tmp_path)
    assert followed.look()
    assert (
        followed.current.certificate == (tmp_path / "server.pem").read_bytes() != first.certificate
    )
    assert not followed.look()
    assert said.messages == [
        f"certificate {tmp_path}/server.pem: a new one is in use, until 2028-02-16 08:00 UTC"
    ]


def test_the_moment_between_two_files_is_not_told(
    tmp_path: Path, clock: Clock, said: pytest.LogCaptureFixture
) -> None:
    followed = FollowedPair(server_files(tmp_path), clock)
    first = followed.current
    made = issue(make_authority("test", NOW), "server", NOW, hosts=HOSTS, server=True)
    (tmp_path / "server.key").write_bytes(made.key)
    assert not followed.look()
    assert (followed.current, said.messages) == (first, [])
    (tmp_path / "server.pem").write_bytes(made.certificate)
    assert followed.look()


def test_what_does_not_fit_keeps_the_old_one_and_is_told_once(
    tmp_path: Path, clock: Clock, said: pytest.LogCaptureFixture
) -> None:
    followed = FollowedPair(server_files(tmp_path), clock)
    first = followed.current
    replace(tmp_path, certificate=False)
    for _ in range(5):
        assert not followed.look()
    assert followed.current == first
    assert said.messages == [
        f"key {tmp_path}/server.key: it is not the key of certificate {tmp_path}/server.pem; expected the one that was "
        "made with it; what was there before stays in use"
    ]
    replace(tmp_path)
    assert followed.look()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda folder: (folder / "server.pem").unlink(), "cannot be read (No such file"),
        (lambda folder: (folder / "server.pem").write_text("x"), "no certificate can be read"),
        (lambda folder: replace(folder, NOW - 400 * DAY), "it expired on"),
    ],
)
def test_what_cannot_be_used_keeps_the_old_one(
    tmp_path: Path, clock: Clock, said: pytest.LogCaptureFixture, spoil: object, why: str
) -> None:
    followed = FollowedPair(server_files(tmp_path), clock)
    first = followed.current
    assert callable(spoil)
    spoil(tmp_path)
    for _ in range(3):
        assert not followed.look()
    assert followed.current == first
    [line] = said.messages
    assert why in line
    assert line.endswith("what was there before stays in use")


def test_what_could_not_be_used_yet_is_taken_when_it_can(
    tmp_path: Path, clock: Clock, said: pytest.LogCaptureFixture
) -> None:
    """The files do not change when their time comes."""
    followed = FollowedPair(server_files(tmp_path), clock)
    first = followed.current
    replace(tmp_path, NOW + DAY)
    for _ in range(3):
        assert not followed.look()
    [line] = said.messages
    assert "from" in line
    clock.now += DAY + 3600
    assert followed.look()
    assert followed.current != first
    assert len(said.messages) == 2
    assert not followed.look()


def test_links_as_kubernetes_changes_them_are_followed(tmp_path: Path, clock: Clock) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    for number in "12":
        (tmp_path / number).mkdir()
        server_files(tmp_path / number)
    data = tmp_path / "..data"
    data.symlink_to("1")
    for name in ("server.pem", "server.key"):
        (mounted / name).symlink_to(f"../..data/{name}")
    files = server_files(tmp_path)
    followed = FollowedPair(type(files)(mounted / "server.pem", mounted / "server.key"), clock)
    other = tmp_path / "..new"
    other.symlink_to("2")
    other.rename(data)
    assert followed.look()
    assert followed.current.certificate == (tmp_path / "2" / "server.pem").read_bytes()


def test_its_end_is_told_before_it_comes_and_once_more_when_it_is_there(
    tmp_path: Path, clock: Clock, said: pytest.LogCaptureFixture
) -> None:
    followed = FollowedPair(server_files(tmp_path), clock)
    told = []
    for days in (0, 382, 384, 396, 397, 398):
        clock.now = NOW + days * DAY
        for _ in range(3):
            assert not followed.look()
        told.append(len(said.messages))
    assert told == [0, 0, 1, 1, 2, 2]
    near, there = said.messages
    begin = f"certificate {tmp_path}/server.pem: "
    assert near.startswith(
        f"{begin}it expires on 2028-02-16 08:00 UTC, and then clients refuse it; put a new one"
    )
    assert there.startswith(
        f"{begin}it expired on 2028-02-16 08:00 UTC, and clients refuse it; put a new one there"
    )


def test_one_that_lives_for_a_day_is_late_in_its_last_hours(
    tmp_path: Path, clock: Clock, said: pytest.LogCaptureFixture
) -> None:
    files = server_files(tmp_path)
    made = issue(make_authority("test", NOW), "server", NOW, hosts=HOSTS, server=True, days=1)
    put(tmp_path, "server", made)
    followed = FollowedPair(files, clock)
    for hours, told in ((20, 0), (23, 1)):
        clock.now = NOW + hours * 3600
        followed.look()
        assert len(said.messages) == told
