"""The source of oci://, by oras, against Debian's docker-registry."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import oras.client
import pytest

from overbook.artifacts.archives import Bounds
from overbook.artifacts.errors import ArtifactError, SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import Listing, Wanted
from overbook.artifacts.sources.web.download import Downloader, Manners, parts_of
from overbook.artifacts.sources.web.registry.source import RegistrySource
from tests.integration.scheduler_harness import until
from tests.stores.certificates import Authority
from tests.stores.registry import (
    INDEX,
    MANIFEST,
    PASSWORD,
    TAR,
    USER,
    Pusher,
    registry,
    tar,
    tokens,
    with_password,
)

TITLE = "org.opencontainers.image.title"
UNPACK = "io.deis.oras.content.unpack"
BOUNDS = Bounds(bytes=64 << 20)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def host(store: Path) -> Iterator[str]:
    """Of an open registry."""
    with registry(store) as made:
        yield made


@pytest.fixture
def pusher(host: str) -> Pusher:
    return Pusher(host)


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who runs the tests has no credentials of their own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)


@asynccontextmanager
async def downloads(limits: FetchLimits | None = None) -> AsyncIterator[Downloader]:
    downloader = Downloader(limits or FetchLimits(), Manners(tries=1))
    try:
        yield downloader
    finally:
        await downloader.close()


@pytest.fixture
async def source() -> AsyncIterator[RegistrySource]:
    async with downloads() as downloader:
        yield RegistrySource(downloader, BOUNDS)


def secret(**parameters: str) -> RemoteSecret:
    return RemoteSecret("mine", "registry", "oci", parameters)


READER = secret(username=USER, password=PASSWORD)


def blob(store: Path, digest: str) -> Path:
    """Where the registry keeps its bytes."""
    name = digest.removeprefix("sha256:")
    return store / "store/docker/registry/v2/blobs/sha256" / name[:2] / name / "data"


def held(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


async def fetch(
    source: RegistrySource,
    uri: str,
    into: Path,
    given: RemoteSecret | None = None,
    version: str = "",
) -> tuple[Listing, dict[str, bytes]]:
    wanted = Wanted(uri, version)
    listing = await source.look(wanted, given)
    counted: list[int] = []
    received = await source.bring(wanted, given, listing, into, counted.append)
    assert sum(counted) == listing.bytes
    found = held(into)
    assert {each.name: each.size for each in received} == {
        name: len(data) for name, data in found.items()
    }
    return listing, found


async def failure(
    source: RegistrySource, uri: str, given: RemoteSecret | None = None
) -> tuple[Trouble, str]:
    with pytest.raises(SourceError) as raised:
        await source.look(Wanted(uri), given)
    message = str(raised.value)
    assert "\n" not in message
    assert PASSWORD not in message
    return raised.value.trouble, message


async def test_what_oras_pushes(source: RegistrySource, host: str, tmp_path: Path) -> None:
    files = tmp_path / "files"
    (files / "model" / "1").mkdir(parents=True)
    (files / "model" / "1" / "model.onnx").write_bytes(b"onnx" * 10_000)
    (files / "model" / "config.pbtxt").write_bytes(b"name")
    (files / "labels.txt").write_bytes(b"cat\n")

    def push() -> None:
        client = oras.client.OrasClient(insecure=True)
        client.push(
            f"{host}/pushed/by-oras:v1",
            files=[str(files / "model"), f"{files / 'labels.txt'}:text/plain"],
            disable_path_validation=True,
        )

    await asyncio.to_thread(push)
    listing, found = await fetch(source, f"oci://{host}/pushed/by-oras:v1", tmp_path / "into")
    assert found == {
        "model/1/model.onnx": b"onnx" * 10_000,
        "model/config.pbtxt": b"name",
        "labels.txt": b"cat\n",
    }
    assert (listing.pinned, listing.whole) == ("", False)
    assert not parts_of(tmp_path / "into").exists()


async def test_layers_that_are_files(
    source: RegistrySource, pusher: Pusher, host: str, tmp_path: Path
) -> None:
    model = bytes(range(256)) * 4096
    digest = pusher.manifest(
        "files",
        "latest",
        pusher.layer("files", model, "application/octet-stream", **{TITLE: "1/model.bin"}),
        pusher.layer("files", b"two", "application/octet-stream", **{TITLE: "2/model.bin"}),
        pusher.layer("files", b"{}", "application/json", **{TITLE: "settings.json"}),
    )
    uri = f"oci://{host}/files"
    listing, found = await fetch(source, uri, tmp_path / "into")
    assert found == {"1/model.bin": model, "2/model.bin": b"two", "settings.json": b"{}"}
    assert listing.pinned == ""
    pinned, _ = await fetch(source, f"{uri}@{digest}", tmp_path / "pinned")
    assert pinned.pinned == digest
    assert pinned.fingerprint == listing.fingerprint
    _, found = await fetch(source, uri, tmp_path / "version", version="2")
    assert found == {"2/model.bin": b"two", "settings.json": b"{}"}


async def test_a_single_archive_is_to_be_unpacked(
    source: RegistrySource, pusher: Pusher, host: str
) -> None:
    archive = tar({"model.bin": b"x"}, compressed=True)
    layer = pusher.layer("archive", archive, TAR + "+gzip", **{TITLE: "model.tar.gz"})
    pusher.manifest("archive", "latest", layer)
    assert (await source.look(Wanted(f"oci://{host}/archive"), None)).whole


async def test_an_image_of_kserves(
    source: RegistrySource, pusher: Pusher, host: str, tmp_path: Path
) -> None:
    """Layers lie over each other, and what is beside the model may be what it likes."""
    system = tar(
        {
            "bin/sh": b"-> /bin/busybox",
            "etc/passwd": b"root",
            "models/1/model.bin": b"old",
            "models/1/words.txt": b"gone later",
            "models/kept.txt": b"kept",
        },
        compressed=True,
    )
    over = tar({"models/1/model.bin": b"new", "models/1/.wh.words.txt": b""})
    pusher.manifest(
        "image",
        "v1",
        pusher.layer("image", system, TAR + "+gzip"),
        pusher.layer("image", over, TAR),
    )
    listing, found = await fetch(source, f"oci://{host}/image:v1", tmp_path / "into")
    assert found == {"1/model.bin": b"new", "kept.txt": b"kept"}
    assert [each.size for each in listing.files] == [len(system), len(over)]


async def test_an_image_without_that_folder(
    source: RegistrySource, pusher: Pusher, host: str, tmp_path: Path
) -> None:
    layer = pusher.layer("plain", tar({"1/model.bin": b"x", "2/model.bin": b"y"}), TAR)
    pusher.manifest("plain", "latest", layer)
    _, found = await fetch(source, f"oci://{host}/plain", tmp_path / "into")
    assert found == {"1/model.bin": b"x", "2/model.bin": b"y"}
    _, found = await fetch(source, f"oci://{host}/plain", tmp_path / "version", version="2")
    assert found == {"2/model.bin": b"y"}
    with pytest.raises(
        SourceError, match=r"it has no folder '3' .* that there are: '2', '1'"
    ) as raised:
        await fetch(source, f"oci://{host}/plain", tmp_path / "none", version="3")
    assert raised.value.trouble is Trouble.NOT_FOUND


async def test_a_modelkit(
    source: RegistrySource, pusher: Pusher, host: str, tmp_path: Path
) -> None:
    kind = "application/vnd.kitops.modelkit.{}.v1.tar+gzip"
    pusher.manifest(
        "kit",
        "latest",
        pusher.layer("kit", tar({"models/m.gguf": b"x"}, compressed=True), kind.format("model")),
        pusher.layer("kit", tar({"docs/words.md": b"y"}, compressed=True), kind.format("docs")),
    )
    _, found = await fetch(source, f"oci://{host}/kit", tmp_path / "into")
    assert found == {"models/m.gguf": b"x", "docs/words.md": b"y"}


async def test_this_platforms_image_of_an_index(
    source: RegistrySource, pusher: Pusher, host: str, tmp_path: Path
) -> None:
    there = []
    for architecture in ("amd64", "arm64", "s390x"):
        layer = pusher.layer("many", tar({"models/for": architecture.encode()}), TAR)
        digest = pusher.manifest("many", architecture, layer)
        there.append(
            {
                "mediaType": MANIFEST,
                "digest": digest,
                "size": 1,
                "platform": {"os": "linux", "architecture": architecture},
            }
        )
    body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": there}
    index = pusher.put("many", "latest", body, INDEX)
    ours = {"x86_64": b"amd64", "aarch64": b"arm64"}[os.uname().machine]
    listing, found = await fetch(source, f"oci://{host}/many@{index}", tmp_path / "into")
    assert found == {"for": ours}
    assert listing.pinned == index


async def test_a_tag_that_moves_moves_nothing_under_way(
    source: RegistrySource, pusher: Pusher, host: str, tmp_path: Path
) -> None:
    def push(content: bytes) -> None:
        layer = pusher.layer("moving", content, "text/plain", **{TITLE: "model"})
        pusher.manifest("moving", "latest", layer)

    push(b"old")
    wanted = Wanted(f"oci://{host}/moving")
    listing = await source.look(wanted, None)
    push(b"new")
    await source.bring(wanted, None, listing, tmp_path / "into", lambda _: None)
    assert held(tmp_path / "into") == {"model": b"old"}
    assert (await source.look(wanted, None)).fingerprint != listing.fingerprint


async def test_a_folder_and_a_file_that_meet_are_refused(
    source: RegistrySource, pusher: Pusher, host: str, tmp_path: Path
) -> None:
    folder = tar({"model/a": b"x"}, compressed=True)
    pusher.manifest(
        "meeting",
        "latest",
        pusher.layer("meeting", folder, TAR + "+gzip", **{TITLE: "model", UNPACK: "true"}),
        pusher.layer("meeting", b"y", "text/plain", **{TITLE: "model/a"}),
    )
    with pytest.raises(SourceError, match="has 'model/a' twice") as raised:
        await fetch(source, f"oci://{host}/meeting", tmp_path / "into")
    assert raised.value.trouble is Trouble.REFUSED


@pytest.mark.parametrize(
    "hostile",
    [{"../out": b"x"}, {"/etc/out": b"x"}, {"link": b"-> ../../out", "link/a": b"x"}],
    ids=["upwards", "absolute", "link"],
)
async def test_hostile_layers_write_nothing_outside(
    source: RegistrySource, pusher: Pusher, host: str, tmp_path: Path, hostile: dict[str, bytes]
) -> None:
    layer = pusher.layer("hostile", tar(hostile | {"model": b"y"}), TAR)
    pusher.manifest("hostile", "latest", layer)
    with pytest.raises(ArtifactError):
        await fetch(source, f"oci://{host}/hostile", tmp_path / "a" / "into")
    assert not {name for name in held(tmp_path) if Path(name).name == "out"}
    assert held(tmp_path / "a" / "into") == {}


async def test_what_unpacks_to_more_than_there_may_be_is_refused(
    pusher: Pusher, host: str, tmp_path: Path
) -> None:
    layer = pusher.layer("large", tar({"model": bytes(1 << 20)}, compressed=True), TAR + "+gzip")
    pusher.manifest("large", "latest", layer)
    async with downloads() as downloader:
        narrow = RegistrySource(downloader, Bounds(bytes=1000))
        with pytest.raises(SourceError, match="more than 1000 bytes when it is unpacked"):
            await fetch(narrow, f"oci://{host}/large", tmp_path / "into")


async def test_what_was_brought_is_not_brought_again(
    pusher: Pusher, host: str, store: Path, tmp_path: Path
) -> None:
    """The first try ends while it unpacks; the next has no use for the registry but to hear what is wanted."""
    layers = [
        pusher.layer("again", tar({f"models/{name}": name.encode() * 100_000}), TAR)
        for name in ("a", "b")
    ]
    pusher.manifest("again", "latest", *layers)
    uri, into = f"oci://{host}/again", tmp_path / "into"
    async with downloads() as downloader:
        with pytest.raises(SourceError, match="when it is unpacked"):
            await fetch(RegistrySource(downloader, Bounds(bytes=150_000)), uri, into)
        for each in layers:
            data = blob(store, each["digest"])
            data.write_bytes(bytes(data.stat().st_size))
        _, found = await fetch(RegistrySource(downloader, BOUNDS), uri, into)
    assert found == {"a": b"a" * 100_000, "b": b"b" * 100_000}
    assert not parts_of(into).exists()


async def test_whoever_leaves_while_it_unpacks_leaves_nobody_behind(
    source: RegistrySource, pusher: Pusher, host: str, tmp_path: Path
) -> None:
    files = {f"models/{number}": b"x" for number in range(15_000)}
    pusher.manifest("files-many", "latest", pusher.layer("files-many", tar(files), TAR))
    into = tmp_path / "into"
    fetching = asyncio.ensure_future(fetch(source, f"oci://{host}/files-many", into))
    made = parts_of(into) / "unpacked"

    def begun() -> bool:
        return made.exists() and any(made.iterdir())

    await until("it unpacks", begun)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    # Nobody writes there any more: it can be removed, and stays so.
    there = len(held(made))
    assert there < len(files)
    await asyncio.sleep(0.2)
    assert len(held(made)) == there
    assert held(into) == {}


async def test_damaged_blobs_are_noticed(
    source: RegistrySource, pusher: Pusher, host: str, store: Path, tmp_path: Path
) -> None:
    layer = pusher.layer("damaged", b"to be damaged", "text/plain", **{TITLE: "model"})
    pusher.manifest("damaged", "latest", layer)
    blob(store, layer["digest"]).write_bytes(b"TO BE DAMAGED")
    with pytest.raises(SourceError) as raised:
        await fetch(source, f"oci://{host}/damaged", tmp_path / "into")
    assert raised.value.trouble is Trouble.DAMAGED


async def test_what_is_not_there(source: RegistrySource, pusher: Pusher, host: str) -> None:
    layer = pusher.layer("there", b"x", "text/plain", **{TITLE: "model"})
    pusher.manifest("there", "v1", layer)
    assert await failure(source, f"oci://{host}/never") == (
        Trouble.NOT_FOUND,
        f"oci://{host}/never:latest: {host} has no repository never",
    )
    assert await failure(source, f"oci://{host}/there:v2") == (
        Trouble.NOT_FOUND,
        f"oci://{host}/there:v2: there has no tag v2; its tags: v1",
    )
    digest = f"sha256:{'0' * 64}"
    assert await failure(source, f"oci://{host}/there@{digest}") == (
        Trouble.NOT_FOUND,
        f"oci://{host}/there@{digest}: there has no digest {digest}; its tags: v1",
    )


async def test_a_password(
    source: RegistrySource, pusher: Pusher, store: Path, tmp_path: Path
) -> None:
    layer = pusher.layer("closed", b"x", "text/plain", **{TITLE: "model"})
    pusher.manifest("closed", "latest", layer)
    with registry(store, with_password(store)) as closed:
        uri = f"oci://{closed}/closed"
        _, found = await fetch(source, uri, tmp_path / "into", READER)
        assert found == {"model": b"x"}
        assert await failure(source, uri, secret(username=USER, password="wrong")) == (
            Trouble.NOT_ALLOWED,
            f"{uri}:latest: {closed} does not take what is in secret 'mine'",
        )
        assert await failure(source, uri) == (
            Trouble.NOT_ALLOWED,
            f"{uri}:latest: closed is not there, or a request without a name (secretName gives it one) "
            "does not open it",
        )
        assert await failure(source, uri, secret(token="wrong")) == (
            Trouble.NOT_ALLOWED,
            f"{uri}:latest: {closed} does not take what is in secret 'mine'",
        )


async def test_tls(
    pusher: Pusher, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = pusher.layer("closed", b"x", "text/plain", **{TITLE: "model"})
    pusher.manifest("closed", "latest", layer)
    authority = Authority(tmp_path)
    over_tls = secret(username=USER, password=PASSWORD, insecure="false")
    certificate = authority.sign("registry")
    with registry(store, with_password(store), certificate) as closed:
        uri = f"oci://{closed}/closed"
        async with downloads() as downloader:
            trouble, _ = await failure(RegistrySource(downloader, BOUNDS), uri, over_tls)
            assert trouble is Trouble.NOT_TRUSTED
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
        async with downloads() as downloader:
            await fetch(RegistrySource(downloader, BOUNDS), uri, tmp_path / "into", over_tls)


async def test_a_password_is_sent_to_no_token_server_without_tls(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry itself has TLS, and what it names does not."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    given = secret(username=USER, password=PASSWORD, insecure="false")
    certificate = authority.sign("registry")
    with tokens(store) as issuer, registry(store, issuer.auth(), certificate) as closed:
        uri = f"oci://{closed}/closed"
        async with downloads() as downloader:
            assert await failure(RegistrySource(downloader, BOUNDS), uri, given) == (
                Trouble.REFUSED,
                f"{uri}:latest: {closed} wants the password sent to a server without TLS",
            )
        assert issuer.asked == 0


async def test_what_is_secret_is_in_no_log(
    source: RegistrySource,
    pusher: Pusher,
    store: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer = pusher.layer("a/closed", b"x", "text/plain", **{TITLE: "model"})
    pusher.manifest("a/closed", "latest", layer)
    basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    with tokens(store) as issuer, registry(store, issuer.auth()) as closed:
        uri = f"oci://{closed}/a/closed"
        # oras is silenced when it is first used.
        await source.look(Wanted(uri), READER)
        caplog.set_level(logging.DEBUG)
        caplog.set_level(logging.DEBUG, logger="oras.logger")
        await fetch(source, uri, tmp_path / "into", READER)
        await failure(source, f"oci://{closed}/a/never", READER)
    assert "Requesting auth token" in caplog.text
    assert PASSWORD not in caplog.text
    assert basic not in caplog.text
    assert "eyJ" not in caplog.text  # as every token begins


def docker_config(folder: Path, host: str) -> None:
    folder.mkdir(parents=True)
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))


@pytest.mark.parametrize("where", ["home", "elsewhere"])
async def test_dockers_own_configuration(
    source: RegistrySource,
    pusher: Pusher,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    layer = pusher.layer("closed", b"x", "text/plain", **{TITLE: "model"})
    pusher.manifest("closed", "latest", layer)
    with registry(store, with_password(store)) as closed:
        if where == "home":
            docker_config(tmp_path / "home" / ".docker", closed)
        else:
            docker_config(tmp_path / "elsewhere", closed)
            monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "elsewhere"))
        await fetch(source, f"oci://{closed}/closed", tmp_path / "into")
        # A secret that has none is not filled up from there.
        trouble, _ = await failure(source, f"oci://{closed}/closed", secret(insecure="true"))
        assert trouble is Trouble.NOT_ALLOWED


async def test_dockers_own_configuration_that_is_broken(
    source: RegistrySource, host: str, tmp_path: Path
) -> None:
    folder = tmp_path / "home" / ".docker"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{")
    trouble, message = await failure(source, f"oci://{host}/there")
    assert trouble is Trouble.BAD_SECRET
    assert "Docker's configuration of this user cannot be read" in message


async def test_tokens(source: RegistrySource, pusher: Pusher, store: Path, tmp_path: Path) -> None:
    layer = pusher.layer("a/closed", b"x", "text/plain", **{TITLE: "model"})
    pusher.manifest("a/closed", "latest", layer)
    with tokens(store) as issuer, registry(store, issuer.auth()) as closed:
        uri = f"oci://{closed}/a/closed"
        assert await failure(source, uri) == (
            Trouble.NOT_ALLOWED,
            f"{uri}:latest: a/closed is not there, or a request without a name (secretName gives it one) "
            "does not open it",
        )
        _, found = await fetch(source, uri, tmp_path / "named", READER)
        assert found == {"model": b"x"}
        assert (await failure(source, uri, secret(username=USER, password="wrong")))[0] is (
            Trouble.NOT_ALLOWED
        )
        await fetch(source, uri, tmp_path / "token", secret(token=issuer.token("a/closed")))
        issuer.public.add("a/closed")
        await fetch(source, uri, tmp_path / "anonymous")


async def test_a_token_that_ends_on_the_way_is_renewed(
    pusher: Pusher, store: Path, tmp_path: Path
) -> None:
    content = {f"{number}.bin": bytes([number]) * 100_000 for number in range(12)}
    layers: list[dict[str, Any]] = [
        pusher.layer("slow", data, "text/plain", **{TITLE: name}) for name, data in content.items()
    ]
    pusher.manifest("slow", "latest", *layers)
    # 6 s in all, and each token is good for half of that.
    limits = FetchLimits(concurrent=1, rate=200_000)
    async with downloads(limits) as downloader:
        with tokens(store) as issuer, registry(store, issuer.auth()) as closed:
            issuer.seconds = 3
            patient = RegistrySource(downloader, BOUNDS)
            _, found = await fetch(patient, f"oci://{closed}/slow", tmp_path / "into", READER)
            assert issuer.asked > 2
    assert found == content


async def test_nobody_answers(source: RegistrySource) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        trouble, message = await failure(source, f"oci://{host}/a")
        assert trouble is Trouble.UNREACHABLE
        assert message.startswith(f"oci://{host}/a:latest: http://{host}/v2/a/manifests/latest: ")
