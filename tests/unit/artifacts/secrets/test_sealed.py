"""Sealing: opened by the same key under the same name alone, and by no key that others may read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from overbook.artifacts.secrets.errors import SealError
from overbook.artifacts.secrets.sealed import KEY_BYTES, make_key, read_key, seal, unseal

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
PLAIN = b"hunter2" * 9


def test_what_was_sealed_is_opened_and_shows_nothing_of_it() -> None:
    sealed = seal(KEY, "minio", PLAIN)
    assert unseal(KEY, "minio", sealed) == PLAIN
    assert b"hunter2" not in sealed
    assert seal(KEY, "minio", PLAIN) != sealed


def test_another_key_name_or_byte_opens_nothing() -> None:
    sealed = seal(KEY, "minio", PLAIN)
    changed = [
        sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]
        for index in range(len(sealed))
    ]
    wrong = [(OTHER, "minio", sealed), (KEY, "other", sealed), (KEY, "minio", sealed[:-1])]
    wrong += [(KEY, "minio", each) for each in (*changed, b"", b"\x01", sealed + b"x")]
    for key, name, content in wrong:
        with pytest.raises(SealError, match="another key, or is damaged"):
            unseal(key, name, content)


def test_a_key_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "secrets.key"
    assert read_key(path) is None
    before = os.umask(0)
    try:
        key = make_key(path)
    finally:
        os.umask(before)
    assert len(key) == KEY_BYTES
    assert read_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SealError, match="cannot be made"):
        make_key(path)
    assert read_key(path) == key
    assert [each.name for each in path.parent.iterdir()] == ["secrets.key"]


def test_a_key_that_cannot_be_relied_on_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "secrets.key"
    path.write_bytes(KEY)
    for mode in (0o644, 0o640, 0o602, 0o610):
        path.chmod(mode)
        with pytest.raises(SealError, match=rf"mode {mode:04o}\); run `chmod 600 {path}`"):
            read_key(path)
    path.chmod(0o600)
    assert read_key(path) == KEY
    for size, told in ((0, "0"), (31, "31"), (33, "more")):
        path.write_bytes(b"k" * size)
        with pytest.raises(SealError, match=f"has {told} bytes, expected 32; put the key back"):
            read_key(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(SealError, match="is no file; put the key back"):
        read_key(path)
