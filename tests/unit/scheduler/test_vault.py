"""The vault: what it seals it opens again, and what it cannot open it says, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.scheduler.errors import Conflict
from overbook.scheduler.store import SecretRow
from overbook.scheduler.vault import Vault

MINIO = RemoteSecret("minio", "s3", "s3", {"key": "hunter2\n é", "n": "0123"})
OTHER = RemoteSecret("other", "o", "sftp", {})


def rows(vault: Vault) -> list[SecretRow]:
    stored = [vault.sealed(MINIO, 1.5, first=True), vault.sealed(OTHER, 2.5, first=False)]
    return [
        SecretRow(remote.secret, each.sealed, each.updated)
        for remote, each in zip((MINIO, OTHER), stored, strict=True)
    ]


def test_what_it_seals_it_opens_again(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "secrets.key")
    assert vault.opened([]) == {}
    assert not (tmp_path / "secrets.key").exists()
    written = rows(vault)
    found = Vault(tmp_path / "secrets.key").opened(written)
    assert {name: (each.remote, each.updated, each.trouble) for name, each in found.items()} == {
        "minio": (MINIO, 1.5, ""),
        "other": (OTHER, 2.5, ""),
    }
    assert not any(b"hunter2" in row.sealed for row in written)
    assert "hunter2" not in repr(found)


def test_without_its_key_it_says_so_and_seals_nothing_beside(tmp_path: Path) -> None:
    vault, key = Vault(tmp_path / "secrets.key"), tmp_path / "secrets.key"
    written = rows(vault)
    key.rename(tmp_path / "copy")
    found = vault.opened(written)
    told = f"key file {key} is missing; put it back from a copy and restart, or delete the secrets"
    assert [each.remote for each in found.values()] == [None, None]
    assert all(each.trouble.startswith(told) for each in found.values())
    with pytest.raises(Conflict, match=r"'other' cannot be stored: key file .* is missing"):
        vault.sealed(OTHER, 3.0, first=False)
    assert not key.exists()
    (tmp_path / "copy").rename(key)
    assert vault.opened(written)["minio"].remote == MINIO


def test_a_key_that_others_may_read_opens_nothing(tmp_path: Path) -> None:
    vault, key = Vault(tmp_path / "secrets.key"), tmp_path / "secrets.key"
    written = rows(vault)
    key.chmod(0o644)
    assert "may be read by others" in vault.opened(written)["minio"].trouble
    with pytest.raises(Conflict, match="may be read by others"):
        vault.sealed(OTHER, 3.0, first=True)


def test_with_another_key_or_in_another_place_it_is_not_opened(tmp_path: Path) -> None:
    written = rows(Vault(tmp_path / "secrets.key"))
    (tmp_path / "secrets.key").write_bytes(b"k" * 32)
    vault = Vault(tmp_path / "secrets.key")
    told = "another key, or is damaged; set it anew, or put the right key back and restart"
    assert all(told in each.trouble for each in vault.opened(written).values())
    minio, other = rows(vault)
    swapped = vault.opened([minio._replace(sealed=other.sealed), other])
    assert told in swapped["minio"].trouble
    assert swapped["other"].remote == OTHER
