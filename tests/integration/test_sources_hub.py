"""The source of hf://, with the hub's real client, against a stand-in of the hub."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants, hf_hub_download

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import Listing, Wanted
from overbook.artifacts.sources.web.download import Downloader, Manners
from overbook.artifacts.sources.web.hub.source import HubSource
from tests.stores.certificates import Authority
from tests.stores.hub import TOKEN, Hub, git_name, hub

FILES = {
    "README.md": b"# Words\n",
    ".gitattributes": b"*.bin filter=lfs\n",
    "config.json": b"{}\n",
    "model.bin": bytes(range(256)) * 4096,
    "1/model.onnx": b"one" * 1000,
    "2/model.onnx": b"two" * 1000,
    "with blank/word #1?.txt": b"odd",
}
LARGE = ("model.bin", "1/model.onnx", "2/model.onnx")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The environment leads to it, and has no token."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with hub() as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        yield made


@pytest.fixture
async def source() -> AsyncIterator[HubSource]:
    downloader = Downloader(FetchLimits(), Manners(tries=1))
    yield HubSource(downloader)
    await downloader.close()


def secret(token: str = TOKEN, **more: str) -> RemoteSecret:
    return RemoteSecret("mine", "hub", "hf", {"token": token} | more)


def held(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


async def fetch(
    source: HubSource, uri: str, into: Path, given: RemoteSecret | None = None, version: str = ""
) -> tuple[Listing, dict[str, bytes]]:
    wanted = Wanted(uri, version)
    listing = await source.look(wanted, given)
    counted: list[int] = []
    received = await source.bring(wanted, given, listing, into, counted.append)
    assert sum(counted) == listing.bytes
    assert {each.name: each.size for each in received} == {
        each.name: each.size for each in listing.files
    }
    found = held(into)
    assert set(found) == {each.name for each in listing.files}
    return listing, found


async def failure(
    source: HubSource, uri: str, given: RemoteSecret | None = None
) -> tuple[Trouble, str]:
    with pytest.raises(SourceError) as raised:
        await source.look(Wanted(uri), given)
    message = str(raised.value)
    assert "\n" not in message
    assert TOKEN not in message
    return raised.value.trouble, message


def without_git(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name != ".gitattributes"}


async def test_a_repository(stand_in: Hub, source: HubSource, tmp_path: Path) -> None:
    stand_in.commit("a/b", FILES, large=LARGE)
    listing, found = await fetch(source, "hf://a/b", tmp_path / "into")
    assert found == without_git(FILES)
    assert (listing.pinned, listing.whole) == ("", False)
    marks = {each.name: (each.mark, each.sha256) for each in listing.files}
    assert marks["config.json"] == (git_name(FILES["config.json"]), "")
    assert marks["model.bin"][0] == marks["model.bin"][1]
    # One question says everything, and nobody tells what this machine is.
    assert sum("/api/" in each.path for each in stand_in.asked) == 1
    assert {each.token for each in (*stand_in.asked, *stand_in.asked_elsewhere)} == {""}


async def test_a_folder_a_file_and_a_version(
    stand_in: Hub, source: HubSource, tmp_path: Path
) -> None:
    stand_in.commit("a/b", FILES, large=LARGE)
    _, found = await fetch(source, "hf://a/b/with blank", tmp_path / "folder")
    assert found == {"word #1?.txt": b"odd"}
    listing, found = await fetch(source, "hf://a/b/1/model.onnx", tmp_path / "file")
    assert found == {"model.onnx": FILES["1/model.onnx"]}
    assert not listing.whole
    _, found = await fetch(source, "hf://a/b", tmp_path / "version", version="2")
    assert set(found) == {"README.md", "config.json", "model.bin", "2/model.onnx"}


async def test_a_single_archive_is_to_be_unpacked(stand_in: Hub, source: HubSource) -> None:
    stand_in.commit("a/b", {"model.tar.gz": b"x", "other": b"y"})
    assert (await source.look(Wanted("hf://a/b/model.tar.gz"), None)).whole
    assert not (await source.look(Wanted("hf://a/b"), None)).whole


async def test_files_are_of_one_commit_while_the_branch_moves(
    stand_in: Hub, source: HubSource, tmp_path: Path
) -> None:
    first = stand_in.commit("a/b", {"model": b"old", "words": b"same"})
    wanted = Wanted("hf://a/b")
    listing = await source.look(wanted, None)
    stand_in.commit("a/b", {"model": b"new", "words": b"same"})
    await source.bring(wanted, None, listing, tmp_path / "into", lambda _: None)
    assert (tmp_path / "into" / "model").read_bytes() == b"old"

    moved = await source.look(wanted, None)
    assert moved.fingerprint != listing.fingerprint
    pinned = await source.look(Wanted(f"hf://a/b@{first}"), None)
    assert pinned.pinned == first
    assert pinned.fingerprint == listing.fingerprint


async def test_a_commit_that_changes_no_file_changes_no_fingerprint(
    stand_in: Hub, source: HubSource
) -> None:
    stand_in.commit("a/b", {"model": b"x"})
    before = await source.look(Wanted("hf://a/b"), None)
    stand_in.commit("a/b", {"model": b"x", ".gitattributes": b"more"})
    assert (await source.look(Wanted("hf://a/b"), None)).fingerprint == before.fingerprint


async def test_branches_and_tags(stand_in: Hub, source: HubSource, tmp_path: Path) -> None:
    for branch in ("v1.0", "feature/x", "refs/pr/3"):
        stand_in.commit("a/b", {"model": branch.encode()}, branch=branch)
    for uri, expected in (
        ("hf://a/b@v1.0", b"v1.0"),
        ("hf://a/b@feature%2Fx", b"feature/x"),
        ("hf://a/b@refs/pr/3", b"refs/pr/3"),
    ):
        _, found = await fetch(source, uri, tmp_path / expected.hex())
        assert found == {"model": expected}


async def test_the_token_is_told_to_the_hub_alone(
    stand_in: Hub, source: HubSource, tmp_path: Path
) -> None:
    stand_in.commit("a/b", FILES, large=LARGE)
    stand_in.repositories["a/b"].open_to = {TOKEN}
    _, found = await fetch(source, "hf://a/b", tmp_path / "into", secret())
    assert found == without_git(FILES)
    assert {each.token for each in stand_in.asked} == {TOKEN}
    assert len(stand_in.asked_elsewhere) == len(LARGE)
    assert {each.token for each in stand_in.asked_elsewhere} == {""}


async def test_the_token_is_in_no_log(
    stand_in: Hub, source: HubSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in.commit("a/b", FILES, large=LARGE)
    caplog.set_level(logging.DEBUG)
    monitored = logging.getLogger("huggingface_hub")
    monitored.addHandler(caplog.handler)
    level = monitored.level
    monitored.setLevel(logging.DEBUG)
    try:
        await fetch(source, "hf://a/b", tmp_path / "into", secret())
        await failure(source, "hf://a/c", secret())
    finally:
        monitored.setLevel(level)
        monitored.removeHandler(caplog.handler)
    assert "/api/models/a/b" in caplog.text
    assert TOKEN not in caplog.text


async def test_the_machines_own_token(
    stand_in: Hub, source: HubSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.commit("a/b", FILES)
    stand_in.repositories["a/b"].open_to = {TOKEN}
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    await fetch(source, "hf://a/b", tmp_path / "into")


async def test_the_secret_may_name_another_hub(
    stand_in: Hub, source: HubSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.commit("a/b", FILES, large=LARGE)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    await fetch(source, "hf://a/b", tmp_path / "into", secret(endpoint=stand_in.url))


async def test_what_is_not_there(stand_in: Hub, source: HubSource) -> None:
    stand_in.commit("a/b", FILES)
    assert await failure(source, "hf://a/c") == (
        Trouble.NOT_FOUND,
        f"hf://a/c: it does not exist at {stand_in.url}, or is private and a request without a token "
        "(secretName gives it one) does not open it",
    )
    assert await failure(source, "hf://a/c", secret()) == (
        Trouble.NOT_FOUND,
        f"hf://a/c: it does not exist at {stand_in.url}, or is private and the token of secret 'mine' does not open it",
    )
    assert await failure(source, "hf://a/b@v9") == (
        Trouble.NOT_FOUND,
        "hf://a/b@v9: there is no revision v9; expected a branch, a tag or a commit of it",
    )
    assert await failure(source, f"hf://a/b@{'0' * 40}") == (
        Trouble.NOT_FOUND,
        f"hf://a/b@{'0' * 40}: there is no revision {'0' * 40}; expected a branch, a tag or a commit of it",
    )
    assert await failure(source, "hf://a/b/onnx") == (
        Trouble.NOT_FOUND,
        "hf://a/b/onnx: there is neither a folder nor a file onnx at revision main; expected a model's files",
    )


async def test_who_is_not_let_in(stand_in: Hub, source: HubSource) -> None:
    stand_in.commit("a/b", FILES)
    stand_in.repositories["a/b"].gated = True
    stand_in.repositories["a/b"].open_to = {"hf_another"}
    assert await failure(source, "hf://a/b", secret()) == (
        Trouble.NOT_ALLOWED,
        "hf://a/b: it is gated, and the token of secret 'mine' does not open it; "
        f"ask for access at {stand_in.url}/a/b",
    )
    trouble, message = await failure(source, "hf://a/b")
    assert trouble is Trouble.NOT_ALLOWED
    assert "it is gated, and a request without a token" in message
    assert await failure(source, "hf://a/b", secret("hf_WRONG")) == (
        Trouble.NOT_ALLOWED,
        f"hf://a/b: {stand_in.url} does not take the token of secret 'mine'",
    )


async def test_who_is_let_into_a_gated_one(
    stand_in: Hub, source: HubSource, tmp_path: Path
) -> None:
    stand_in.commit("a/b", FILES, large=LARGE)
    stand_in.repositories["a/b"].gated = True
    stand_in.repositories["a/b"].open_to = {TOKEN}
    await fetch(source, "hf://a/b", tmp_path / "into", secret())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"ratelimit": '"api";r=0;t=55'}, 55.0),
        ({"ratelimit": '"api";r=10;t=55'}, None),
    ],
)
async def test_a_hub_that_asks_to_come_later_is_asked_once(
    stand_in: Hub, source: HubSource, headers: dict[str, str], seconds: float | None
) -> None:
    stand_in.commit("a/b", FILES)
    stand_in.busy, stand_in.busy_headers = 10, headers
    with pytest.raises(SourceError) as raised:
        await source.look(Wanted("hf://a/b"), None)
    assert raised.value.trouble is Trouble.BUSY
    assert raised.value.retry_after == seconds
    assert str(raised.value) == f"hf://a/b: {stand_in.url} asks to come later (HTTP 429)"
    assert len(stand_in.asked) == 1


async def test_nobody_answers(
    stand_in: Hub, source: HubSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("HF_ENDPOINT", url)
        assert await failure(source, "hf://a/b") == (
            Trouble.UNREACHABLE,
            f"hf://a/b: {url}/api/models/a/b/revision/main: no connection (connection refused)",
        )


async def test_a_certificate_that_nobody_knows_is_not_trusted(
    tmp_path: Path, source: HubSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub(Authority(tmp_path).self_signed("hub")) as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        assert await failure(source, "hf://a/b") == (
            Trouble.NOT_TRUSTED,
            f"hf://a/b: {made.url}/api/models/a/b/revision/main: the server's certificate is not signed by anybody who "
            "is trusted here (self-signed certificate); name a file with its certificate, or its authority's, in "
            "SSL_CERT_FILE",
        )
        assert made.asked == []


async def test_who_trusts_an_authority_names_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`SSL_CERT_FILE` counts for the hub's client, and for what brings the files."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    close_session()
    downloader = Downloader(FetchLimits(), Manners(tries=1))
    try:
        with hub(authority.sign("hub")) as made:
            made.commit("a/b", FILES, large=LARGE)
            monkeypatch.setenv("HF_ENDPOINT", made.url)
            _, found = await fetch(HubSource(downloader), "hf://a/b", tmp_path / "into")
    finally:
        await downloader.close()
        close_session()
    assert found == without_git(FILES)


async def test_offline_nobody_is_asked(
    stand_in: Hub, source: HubSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.commit("a/b", FILES)
    listing = await source.look(Wanted("hf://a/b"), None)
    stand_in.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    expected = "hf://a/b: HF_HUB_OFFLINE is set, so the hub is not asked; unset it where Overbook is started"
    assert await failure(source, "hf://a/b") == (Trouble.REFUSED, expected)
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE is set"):
        await source.bring(Wanted("hf://a/b"), None, listing, tmp_path / "into", lambda _: None)
    assert stand_in.asked == []


@pytest.mark.parametrize("name", ["config.json", "model.bin"])
async def test_other_bytes_than_the_hub_lists_are_noticed(
    stand_in: Hub, source: HubSource, tmp_path: Path, name: str
) -> None:
    stand_in.commit("a/b", FILES, large=LARGE)
    stand_in.swap[name] = bytes(len(FILES[name]))
    with pytest.raises(SourceError) as raised:
        await fetch(source, "hf://a/b", tmp_path / "into")
    assert raised.value.trouble is Trouble.DAMAGED
    stand_in.swap.clear()
    _, found = await fetch(source, "hf://a/b", tmp_path / "into")
    assert found == without_git(FILES)


async def test_the_real_client_can_download_from_the_stand_in(
    stand_in: Hub, tmp_path: Path
) -> None:
    commit = stand_in.commit("a/b", FILES, large=LARGE)

    def download(name: str) -> bytes:
        return Path(
            hf_hub_download("a/b", name, cache_dir=tmp_path / "cache", endpoint=stand_in.url)
        ).read_bytes()

    for name, data in FILES.items():
        assert await asyncio.to_thread(download, name) == data
    assert (tmp_path / "cache" / "models--a--b" / "snapshots" / commit).is_dir()
