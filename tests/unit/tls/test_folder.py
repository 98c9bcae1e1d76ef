"""The folder of `overbook tls init`: what is in it, with which rights, and what is never overwritten."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509

from overbook.tls.files import PEER_NAME, TlsFiles
from overbook.tls.folder import fill
from overbook.tls.pair import TlsUnusable, read_pair
from tests.unit.tls.certificates import DAY, NOW

HOSTS = ("localhost", "127.0.0.1")


def test_a_first_time_makes_all_of_it_with_keys_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    filled = fill(folder, HOSTS, NOW, renew=False)
    names = sorted(each.name for each in folder.iterdir())
    assert names == sorted(
        f"{name}.{end}"
        for name in ("ca", "server", "client", "peer-ca", "peer")
        for end in ("pem", "key")
    )
    assert sorted(each.path.name for each in filled.written) == names
    assert (filled.replaced, filled.kept) == ((), ())
    modes = {each.suffix: stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()}
    assert modes == {".pem": 0o644, ".key": 0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    server = read_pair(
        TlsFiles(folder / "server.pem", folder / "server.key", folder / "ca.pem"), NOW
    )
    assert server.names == HOSTS
    peer = read_pair(
        TlsFiles(folder / "peer.pem", folder / "peer.key", folder / "peer-ca.pem"), NOW
    )
    assert peer.names == (PEER_NAME,)
    assert _signer(folder, "client") == _signer(folder, "server") != _signer(folder, "peer")


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path, HOSTS, NOW, renew=False)
    before = _contents(tmp_path)
    filled = fill(tmp_path, HOSTS, NOW + DAY, renew=False)
    assert (filled.written, filled.replaced) == ((), ())
    assert len(filled.kept) == len(before)
    assert _contents(tmp_path) == before


def test_what_is_missing_is_made_by_the_authority_that_is_there(tmp_path: Path) -> None:
    fill(tmp_path, HOSTS, NOW, renew=False)
    before = _contents(tmp_path)
    (tmp_path / "client.pem").unlink()
    (tmp_path / "client.key").unlink()
    filled = fill(tmp_path, HOSTS, NOW, renew=False)
    assert [each.path.name for each in filled.written] == ["client.pem", "client.key"]
    after = _contents(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {"client.pem", "client.key"}
    assert _signer(tmp_path, "client") == _signer(tmp_path, "server")


def test_renewing_keeps_the_authorities_and_says_what_it_replaces(tmp_path: Path) -> None:
    fill(tmp_path, HOSTS, NOW, renew=False)
    before = _contents(tmp_path)
    filled = fill(tmp_path, (*HOSTS, "new.example"), NOW + DAY, renew=True)
    after = _contents(tmp_path)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {
        f"{name}.{end}" for name in ("server", "client", "peer") for end in ("pem", "key")
    }
    assert {each.name for each in filled.replaced} == changed
    assert {each.name for each in filled.kept} == before.keys() - changed
    files = TlsFiles(tmp_path / "server.pem", tmp_path / "server.key")
    assert "new.example" in read_pair(files, NOW + DAY).names


def test_half_a_pair_is_nothing_to_overwrite(tmp_path: Path) -> None:
    fill(tmp_path, HOSTS, NOW, renew=False)
    (tmp_path / "ca.key").unlink()
    before = _contents(tmp_path)
    with pytest.raises(TlsUnusable, match=r"ca\.pem is there, and .*ca\.key is not"):
        fill(tmp_path, HOSTS, NOW, renew=True)
    assert _contents(tmp_path) == before


def test_what_a_lost_authority_signed_is_not_mixed_with_a_new_ones(tmp_path: Path) -> None:
    fill(tmp_path, HOSTS, NOW, renew=False)
    for end in ("pem", "key"):
        (tmp_path / f"ca.{end}").unlink()
    before = _contents(tmp_path)
    with pytest.raises(
        TlsUnusable, match=r"server\.pem is there, and the authority .*ca\.pem .* is not; put these"
    ):
        fill(tmp_path, HOSTS, NOW, renew=False)
    assert _contents(tmp_path) == before
    fill(tmp_path, HOSTS, NOW, renew=True)
    assert _signer(tmp_path, "client") == _signer(tmp_path, "server")


def test_an_authority_of_others_is_not_signed_with(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    (tmp_path / "ca.key").write_text("nonsense")
    with pytest.raises(
        TlsUnusable, match=r"authority .*ca\.pem with key .*ca\.key: it cannot sign"
    ):
        fill(tmp_path, HOSTS, NOW, renew=False)


def _contents(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def _signer(folder: Path, name: str) -> str:
    found = x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
    return found.issuer.rfc4514_string()
