"""What is at addresses of object stores and file servers, and bringing it: from real servers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from tests.integration.rclone_harness import (
    MIB,
    Fetch,
    files_of,
    machine,
    s3_secret,
    secret,
    sha256,
    source,
)
from tests.stores.gcs import GcsStore, gcs
from tests.stores.s3 import S3Store, moto_s3, rclone_s3
from tests.stores.sftp import PASSWORD, SftpStore, obscured, sftp

FILES = {
    "model-settings.json": b'{"name": "a"}',
    "weights/model.bin": b"weights" * 1000,
    "weights/empty": b"",
    "odd name [1] {x},*.txt": "ä".encode(),
}


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    with moto_s3(tmp_path_factory.mktemp("moto")) as store:
        yield store


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    with rclone_s3(tmp_path_factory.mktemp("served") / "files") as store:
        yield store


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpStore]:
    with sftp(tmp_path_factory.mktemp("sftp")) as store:
        yield store


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsStore]:
    folder = tmp_path_factory.mktemp("gcs")
    for name, content in FILES.items():
        path = folder / "files" / "shelf" / "models" / "a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with gcs(folder) as store:
        yield store


@pytest.fixture(params=["moto", "rclone"])
def store(request: pytest.FixtureRequest, moto: S3Store, served: S3Store) -> S3Store:
    found = moto if request.param == "moto" else served
    found.forget()
    return found


async def test_a_folder_comes_as_it_is(store: S3Store, tmp_path: Path) -> None:
    for name, content in FILES.items():
        store.put("shelf", f"models/a/{name}", content)
    store.put("shelf", "models/ab/other", b"of somebody else")
    fetch = Fetch(source(), "s3://shelf/models/a", s3_secret(store))
    listing = await fetch.look()
    assert {each.name: each.size for each in listing.files} == {
        name: len(content) for name, content in FILES.items()
    }
    assert not listing.whole
    assert {each.origin for each in listing.files} == {f"shelf/models/a/{name}" for name in FILES}
    received = await fetch.bring(listing, tmp_path / "into")
    assert files_of(tmp_path / "into") == FILES
    assert {each.name: each.digest for each in received} == {
        name: sha256(content) for name, content in FILES.items()
    }
    assert fetch.told == listing.bytes
    assert os.listdir(tmp_path) == ["into"]


async def test_a_single_object_is_as_good_as_a_folder(store: S3Store, tmp_path: Path) -> None:
    store.put("shelf", "single/model.joblib", b"one")
    store.put("shelf", "single/model.tar.gz", b"packed")
    store.put("shelf", "single/folder/folder", b"the only one in a folder of its name")
    rclone, given = source(), s3_secret(store)
    one = await Fetch(rclone, "s3://shelf/single/model.joblib", given).look()
    assert [(each.name, each.origin) for each in one.files] == [
        ("model.joblib", "shelf/single/model.joblib")
    ]
    assert not one.whole
    packed = Fetch(rclone, "s3://shelf/single/model.tar.gz", given)
    assert (await packed.look()).whole
    await packed.all(tmp_path / "packed")
    assert files_of(tmp_path / "packed") == {"model.tar.gz": b"packed"}
    await Fetch(rclone, "s3://shelf/single/folder", given).all(tmp_path / "folder")
    assert list(files_of(tmp_path / "folder")) == ["folder"]


async def test_a_version_is_its_folder_and_what_is_at_the_top(
    store: S3Store, tmp_path: Path
) -> None:
    for name in ("config.pbtxt", "1/model", "003/model", "004/deep/down"):
        store.put("shelf", f"versions/{name}", name.encode())
    store.forget()
    fetch = Fetch(source(), "s3://shelf/versions", s3_secret(store), "3")
    await fetch.all(tmp_path / "into")
    assert set(files_of(tmp_path / "into")) == {"config.pbtxt", "003/model"}
    assert not [each for each in store.requests() if "004" in each.path]
    for version, found in (("4", {"config.pbtxt", "004/deep/down"}), ("004", None)):
        listing = await Fetch(source(), "s3://shelf/versions", s3_secret(store), version).look()
        assert {each.name for each in listing.files} == (found or {"config.pbtxt", "004/deep/down"})
    there = "it has no folder '5' .* that there are: '004', '003', '1'"
    with pytest.raises(SourceError, match=there) as caught:
        await Fetch(source(), "s3://shelf/versions", s3_secret(store), "5").look()
    assert caught.value.trouble is Trouble.NOT_FOUND


async def test_where_nothing_is_at_the_top_a_missing_version_is_told_from_an_empty_place(
    store: S3Store,
) -> None:
    store.put("shelf", "bare/1/model", b"1")
    with pytest.raises(SourceError, match=r"it has no folder '2' .* that there are: '1'"):
        await Fetch(source(), "s3://shelf/bare", s3_secret(store), "2").look()
    with pytest.raises(SourceError, match="has nothing at"):
        await Fetch(source(), "s3://shelf/nowhere", s3_secret(store), "2").look()


async def test_a_version_of_a_single_object_is_the_object(store: S3Store) -> None:
    store.put("shelf", "single/model.onnx", b"one")
    listing = await Fetch(source(), "s3://shelf/single/model.onnx", s3_secret(store), "3").look()
    assert [each.name for each in listing.files] == ["model.onnx"]


async def test_what_changes_has_another_fingerprint(store: S3Store) -> None:
    fetch = Fetch(source(), "s3://shelf/changes", s3_secret(store))
    store.put("shelf", "changes/model", b"before")
    first = (await fetch.look()).fingerprint
    assert (await fetch.look()).fingerprint == first
    store.put("shelf", "changes/model", b"after!")
    assert (await fetch.look()).fingerprint != first


async def test_no_object_is_asked_for_its_hash(store: S3Store) -> None:
    for n in range(5):
        store.put("shelf", f"cheap/f{n}", b"x")
    store.forget()
    listing = await Fetch(source(), "s3://shelf/cheap", s3_secret(store)).look()
    assert all(each.mark.startswith("md5:") for each in listing.files)
    assert len(store.requests()) == 2


async def test_an_object_in_parts(moto: S3Store, tmp_path: Path) -> None:
    content = os.urandom(12 * MIB)
    moto.put("shelf", "parts/model.bin", content)
    received = await Fetch(source(), "s3://shelf/parts", s3_secret(moto)).all(tmp_path / "into")
    assert received[0].digest == sha256(content)


async def test_the_mark_of_a_folder_is_no_file(moto: S3Store, tmp_path: Path) -> None:
    moto.put("shelf", "marked/model", b"x")
    moto.put_mark("shelf", "marked/")
    moto.put_mark("shelf", "marked/empty/")
    await Fetch(source(), "s3://shelf/marked", s3_secret(moto)).all(tmp_path / "into")
    assert files_of(tmp_path / "into") == {"model": b"x"}


async def test_no_bucket_no_folder_and_an_empty_one(store: S3Store) -> None:
    store.make_bucket("empty")
    store.put("shelf", "models/a/model", b"x")
    for uri, said in (
        ("s3://nobody/models/a", "there is no bucket 'nobody'"),
        ("s3://shelf/models/none", "bucket 'shelf' is there, but has nothing at 'models/none'"),
        ("s3://empty", "bucket 'empty' is empty"),
        ("s3://empty/a", "bucket 'empty' is there, but has nothing at 'a'"),
    ):
        with pytest.raises(SourceError) as caught:
            await Fetch(source(), uri, s3_secret(store)).look()
        assert said in str(caught.value)
        assert caught.value.trouble is Trouble.NOT_FOUND


@pytest.mark.slow
async def test_a_folder_with_too_much_is_refused(files: SftpStore) -> None:
    (files.folder / "many").mkdir()
    for n in range(21_000):
        (files.folder / "many" / f"f{n}").touch()
    with pytest.raises(SourceError, match="more than 20000 files") as caught:
        await Fetch(source(), f"{files.address}/many", by_password()).look()
    assert caught.value.trouble is Trouble.REFUSED


async def test_by_the_machines_own_identity(served: S3Store, tmp_path: Path) -> None:
    served.put("shelf", "own/model", b"x")
    keys = served.parameters
    on = machine(
        AWS_ENDPOINT_URL_S3=served.endpoint,
        AWS_ACCESS_KEY_ID=keys["access_key_id"],
        AWS_SECRET_ACCESS_KEY=keys["secret_access_key"],
        # Of another program: rclone's options are given by us alone.
        RCLONE_EXCLUDE="**",
    )
    await Fetch(source(on=on), "s3://shelf/own", None).all(tmp_path / "into")
    assert files_of(tmp_path / "into") == {"model": b"x"}


async def test_as_a_stranger(moto: S3Store, tmp_path: Path) -> None:
    moto.put("shelf", "open/model", b"x", acl="public-read")
    on = machine(AWS_ENDPOINT_URL=moto.endpoint)
    await Fetch(source(on=on), "s3://shelf/open", None).all(tmp_path / "into")
    assert files_of(tmp_path / "into") == {"model": b"x"}


async def test_a_remote_of_the_users_own_configuration(served: S3Store, tmp_path: Path) -> None:
    served.put("shelf", "conf/model", b"x")
    lines = "\n".join(f"{key} = {value}" for key, value in served.remote(type="s3").items())
    (tmp_path / "rclone.conf").write_text(
        f"[box]\n{lines}\n[short]\ntype = alias\nremote = box:shelf\n"
    )
    on = machine(RCLONE_CONFIG=str(tmp_path / "rclone.conf"))
    for n, uri in enumerate(("box:shelf/conf", "box://shelf/conf/model", "short:conf")):
        await Fetch(source(on=on), uri, None).all(tmp_path / str(n))
        assert files_of(tmp_path / str(n)) == {"model": b"x"}


async def test_gs_by_an_emulator(emulator: GcsStore, tmp_path: Path) -> None:
    on = machine(STORAGE_EMULATOR_HOST=emulator.host)
    fetch = Fetch(source(on=on), "gs://shelf/models/a", None)
    received = await fetch.all(tmp_path / "into")
    assert files_of(tmp_path / "into") == FILES
    assert fetch.told == sum(each.size for each in received)
    for uri, said in (
        ("gs://nobody/a", "no bucket 'nobody'"),
        ("gs://shelf/none", "has nothing at 'none'"),
    ):
        with pytest.raises(SourceError, match=said):
            await Fetch(source(on=on), uri, None).look()


async def test_gs_by_a_secret_of_another_type(served: S3Store, tmp_path: Path) -> None:
    served.put("iris", "model/model.joblib", b"x")
    given = RemoteSecret("gcs-like", "gs", "s3", served.remote())
    await Fetch(source(), "gs://iris/model", given).all(tmp_path / "into")
    assert files_of(tmp_path / "into") == {"model.joblib": b"x"}


def by_password(**more: str) -> RemoteSecret:
    parameters = {"pass": obscured(PASSWORD), "known_hosts_file": ""} | more
    return RemoteSecret("files", "sftp", "sftp", parameters)


async def test_sftp(files: SftpStore, tmp_path: Path) -> None:
    for name, content in FILES.items():
        files.put(f"models/a/{name}", content)
    fetch = Fetch(source(), f"{files.address}/models/a", by_password())
    received = await fetch.all(tmp_path / "into")
    assert files_of(tmp_path / "into") == FILES
    assert {each.digest for each in received} == {sha256(each) for each in FILES.values()}
    one = Fetch(source(), f"{files.address}/models/a/weights/model.bin", by_password())
    await one.all(tmp_path / "one")
    assert files_of(tmp_path / "one") == {"model.bin": FILES["weights/model.bin"]}


async def test_sftp_with_the_servers_key_in_the_secret(files: SftpStore, tmp_path: Path) -> None:
    files.put("models/c/model", b"x")
    key = " ".join(files.known_hosts.split()[1:3])
    parameters = {"pass": obscured(PASSWORD), "host_keys": key}
    given = RemoteSecret("files", "sftp", "sftp", parameters)
    await Fetch(source(), f"{files.address}/models/c", given).all(tmp_path / "into")
    assert files_of(tmp_path / "into") == {"model": b"x"}


async def test_sftp_by_the_users_own_key_and_known_hosts(files: SftpStore, tmp_path: Path) -> None:
    files.put("models/b/model", b"x")
    ssh = tmp_path / "home" / ".ssh"
    ssh.mkdir(parents=True)
    (ssh / "id_ed25519").write_bytes((files.keys / "client_key").read_bytes())
    on = machine(home=tmp_path / "home")
    fetch = Fetch(source(on=on), f"{files.address}/models/b", None)
    with pytest.raises(SourceError, match="no host is known") as caught:
        await fetch.look()
    assert caught.value.trouble is Trouble.NOT_TRUSTED
    (ssh / "known_hosts").write_text(files.known_hosts)
    await fetch.all(tmp_path / "into")
    assert files_of(tmp_path / "into") == {"model": b"x"}


async def test_what_sftp_refuses(files: SftpStore, tmp_path: Path) -> None:
    files.put("models/a/model", b"x")
    stranger = " ".join((files.keys / "client_key.pub").read_text().split()[:2])
    for given, path, trouble, said in (
        (by_password(), "/none", Trouble.NOT_FOUND, "no file at '/none'"),
        (
            by_password(**{"pass": obscured("wrong")}),
            "/models/a",
            Trouble.BAD_SECRET,
            "secret 'files': neither its pass nor its key lets user 'keeper' in",
        ),
        (
            RemoteSecret("files", "sftp", "sftp", {"pass": obscured(PASSWORD)}),
            "/models/a",
            Trouble.NOT_TRUSTED,
            "no host is known",
        ),
        (
            RemoteSecret(
                "files", "sftp", "sftp", {"pass": obscured(PASSWORD), "host_keys": stranger}
            ),
            "/models/a",
            Trouble.NOT_TRUSTED,
            "another host key",
        ),
        (
            by_password(known_hosts_file=str(tmp_path / "known_hosts")),
            "/models/a",
            Trouble.BAD_SECRET,
            "its known_hosts_file would",
        ),
    ):
        with pytest.raises(SourceError) as caught:
            await Fetch(source(), f"{files.address}{path}", given).look()
        assert said in str(caught.value)
        assert caught.value.trouble is trouble
        assert PASSWORD not in str(caught.value)


async def test_a_store_that_rclone_does_not_know() -> None:
    with pytest.raises(SourceError, match="rclone has no type whatever") as caught:
        await Fetch(source(), "shelf://a/b", secret("whatever", {})).look()
    assert caught.value.trouble is Trouble.BAD_SECRET
