"""Remotes of the agent's user."""

from __future__ import annotations

from pathlib import Path

import pytest

from overbook.artifacts.sources.rclone.own_configuration import (
    read,
    remotes_in,
    sections_of,
    where,
)
from overbook.artifacts.sources.rclone.sections import Unwritable, written

from .made import machine

TEXT = """
[b2]
type = b2
account = 1234
key = K00%(x)

[sealed]
type = crypt
remote = b2:bucket/sealed
password = abc

[odd name]
type = alias
remote = sealed:models

[disk]
type = local

[shortcut]
type = alias
remote = /srv/models

[round]
type = alias
remote = round:x

[both]
type = union
upstreams = b2: /srv
"""


def test_where_it_is() -> None:
    assert where(machine()) == Path("/home/me/.config/rclone/rclone.conf")
    assert where(machine({"RCLONE_CONFIG": "/etc/r.conf"})) == Path("/etc/r.conf")
    assert where(machine({"XDG_CONFIG_HOME": "/x"})) == Path("/x/rclone/rclone.conf")


def test_only_the_remote_and_what_it_wraps_is_copied() -> None:
    text = TEXT.replace("%(x)", "")
    told = written(sections_of("odd name", remotes_in(text, "r.conf"))).decode()
    assert told == (
        "[source]\ntype = alias\nremote = source1:models\n\n"
        "[source1]\ntype = crypt\nremote = source2:bucket/sealed\npassword = abc\n\n"
        "[source2]\ntype = b2\naccount = 1234\nkey = K00\n"
    )


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("disk", "'local' is not read"),
        ("shortcut", "machine's disk"),
        ("round", "to itself"),
        ("both", "'union' is not read"),
        ("none", "'none', which is not there"),
        ("b2", "its key"),
    ],
)
def test_what_leads_to_the_disk_or_nowhere_is_refused(name: str, why: str) -> None:
    with pytest.raises(Unwritable, match=why):
        sections_of(name, remotes_in(TEXT, "r.conf"))


def test_what_is_no_configuration(tmp_path: Path) -> None:
    assert read(tmp_path / "none.conf") == {}
    for text, why in (("RCLONE_ENCRYPT_V0:\nabc", "encrypted"), ("key = swordfish", "line 1")):
        (tmp_path / "r.conf").write_text(text)
        with pytest.raises(Unwritable, match=why) as caught:
            read(tmp_path / "r.conf")
        assert "swordfish" not in str(caught.value)
    (tmp_path / "r.conf").write_bytes(b"\xff\xfe")
    with pytest.raises(Unwritable, match="UTF-8"):
        read(tmp_path / "r.conf")
