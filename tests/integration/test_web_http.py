"""Plain addresses of HTTP, asked of real servers: single objects, pages that list folders, secrets, certificates."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
from aiohttp import web

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import Listing, Wanted
from overbook.artifacts.sources.web.download import Downloader, Manners
from overbook.artifacts.sources.web.http import HttpSource
from tests.integration.web_harness import MANNERS, content, found_in, give, served
from tests.stores.certificates import Authority
from tests.stores.nginx import PRIVATE, Nginx, nginx
from tests.stores.processes import free_port, running

FILES: Mapping[str, bytes] = {
    "config.pbtxt": b"name: 'x'",
    "1/model.bin": content(2_000_000),
    "1/deep/ü b%?#&+'.txt": b"deep",
    "1/a name that is far too long for the page and therefore shown with dots.json": b"{}",
    "1/empty": b"",
    "2/model.bin": b"two",
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Nginx]:
    root = tmp_path_factory.mktemp("root")
    for name, data in FILES.items():
        (root / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "tree" / name).write_bytes(data)
    (root / "empty").mkdir()
    (root / "model.tar.gz").write_bytes(b"an archive")
    (root / "circle" / "again").mkdir(parents=True)
    (root / "circle" / "again" / "more").symlink_to(root / "circle")
    certificates = {
        "good": authority.sign("good"),
        "self-signed": authority.self_signed("self-signed"),
        "expired": authority.sign("expired", expired=True),
        "other host": authority.sign("other", "models.example"),
    }
    with nginx(tmp_path_factory.mktemp("nginx"), root, certificates) as found:
        yield found


@pytest.fixture
async def downloader() -> AsyncIterator[Downloader]:
    made = Downloader(FetchLimits(), MANNERS)
    yield made
    await made.close()


@pytest.fixture
def source(downloader: Downloader) -> HttpSource:
    return HttpSource(downloader)


async def brought(
    source: HttpSource,
    url: str,
    into: Path,
    version: str = "",
    secret: RemoteSecret | None = None,
) -> tuple[Listing, dict[str, bytes]]:
    wanted, came = Wanted(url, version), 0

    def progress(more: int) -> None:
        nonlocal came
        came += more

    listing = await source.look(wanted, secret)
    received = await source.bring(wanted, secret, listing, into, progress)
    assert [each.name for each in received] == [each.name for each in listing.files]
    assert came == listing.bytes == sum(each.size for each in received)
    assert listing.pinned == ""
    return listing, found_in(into)


async def not_found(source: HttpSource, url: str, said: str, version: str = "") -> None:
    with pytest.raises(SourceError, match=said) as raised:
        await source.look(Wanted(url, version), None)
    assert raised.value.trouble is Trouble.NOT_FOUND


@pytest.mark.parametrize("path", ["tree/", "tree"])
async def test_a_folder_is_brought_with_all_below(
    source: HttpSource, server: Nginx, tmp_path: Path, path: str
) -> None:
    listing, found = await brought(source, server.url(path), tmp_path / "a")
    assert found == FILES
    assert not listing.whole
    assert {file.name: file.size for file in listing.files} == {
        name: len(data) for name, data in FILES.items()
    }


async def test_a_look_notices_what_changed_and_only_that(
    source: HttpSource, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "x").write_bytes(b"one")
    with nginx(tmp_path / "nginx", root) as server:
        wanted = Wanted(server.url(""))
        first = await source.look(wanted, None)
        assert (await source.look(wanted, None)).fingerprint == first.fingerprint
        (root / "x").write_bytes(b"two")
        os.utime(root / "x", (1, 1))
        assert (await source.look(wanted, None)).fingerprint != first.fingerprint
        with pytest.raises(SourceError, match="/x: it is another version") as raised:
            await source.bring(wanted, None, first, tmp_path / "a", lambda more: None)
    assert raised.value.trouble is Trouble.CHANGED


async def test_of_a_folder_one_version_alone(
    source: HttpSource, server: Nginx, tmp_path: Path
) -> None:
    _, found = await brought(source, server.url("tree/"), tmp_path / "a", version="1")
    assert found == {name: data for name, data in FILES.items() if not name.startswith("2/")}
    await not_found(
        source,
        server.url("tree/"),
        "it has no folder .3. with files in it.*: .2., .1.",
        version="3",
    )


async def test_a_single_object(source: HttpSource, server: Nginx, tmp_path: Path) -> None:
    listing, found = await brought(source, server.url("tree/1/model.bin"), tmp_path / "a")
    assert found == {"model.bin": FILES["1/model.bin"]}
    assert not listing.whole
    await not_found(source, server.url("tree/config.pbtxt"), "is a single file", version="1")


async def test_a_single_archive_is_to_be_unpacked(
    source: HttpSource, server: Nginx, tmp_path: Path
) -> None:
    listing, found = await brought(source, server.url("model.tar.gz"), tmp_path / "a")
    assert found == {"model.tar.gz": b"an archive"}
    assert listing.whole


async def test_what_is_not_there(source: HttpSource, server: Nginx) -> None:
    await not_found(source, server.url("nothing"), r"/nothing: not found \(404\)")
    await not_found(source, server.url("nothing/"), r"/nothing/: not found \(404\)")
    await not_found(source, server.url("empty/"), "/empty/: no files are listed there")


async def test_folders_in_a_circle(source: HttpSource, server: Nginx) -> None:
    with pytest.raises(SourceError, match="in a circle") as raised:
        await source.look(Wanted(server.url("circle/")), None)
    assert raised.value.trouble is Trouble.REFUSED


async def test_a_secret_opens_what_is_private(
    source: HttpSource, server: Nginx, tmp_path: Path
) -> None:
    ((name, value),) = PRIVATE.items()
    secret = RemoteSecret("shelf", "web", "http", {"headers": f"{name},{value}"})
    url = server.url("private/tree/")
    _, found = await brought(source, url, tmp_path / "a", secret=secret)
    assert found == FILES
    wrong = RemoteSecret("shelf", "web", "http", {"headers": f"{name},0ther"})
    for given, said in ((None, "no secret was given"), (wrong, "secret shelf does not suffice")):
        with pytest.raises(SourceError, match=said) as raised:
            await source.look(Wanted(url), given)
        assert raised.value.trouble is Trouble.NOT_ALLOWED
        assert "0ther" not in str(raised.value)


async def test_a_server_that_limits_requests_is_asked_again_later(
    server: Nginx, tmp_path: Path
) -> None:
    downloader = Downloader(FetchLimits(), Manners(backoff=0.3))
    source, before = HttpSource(downloader), len(server.statuses())
    _, found = await brought(source, server.url("limited/tree/1/"), tmp_path / "a")
    assert len(found) == 4
    await downloader.close()
    assert 429 in server.statuses()[before:]


async def test_the_address_of_a_folder_has_no_query(source: HttpSource, server: Nginx) -> None:
    with pytest.raises(SourceError, match="nothing behind a question mark") as raised:
        await source.look(Wanted(server.url("tree/?token=t0psecret")), None)
    assert raised.value.trouble is Trouble.BAD_ADDRESS
    assert "t0psecret" not in str(raised.value)


async def test_a_page_that_lists_nothing(source: HttpSource) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response({"files": []})

    async with served(handler) as server:
        with pytest.raises(SourceError, match="no page that lists files") as raised:
            await source.look(Wanted(f"{server.base}/x/"), None)
    assert raised.value.trouble is Trouble.BAD_ADDRESS


async def test_a_page_with_a_name_that_is_none(source: HttpSource) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text='<a href="..%2F..%2Fetc">x</a>', content_type="text/html")

    async with served(handler) as server:
        with pytest.raises(SourceError, match=r"lists '\.\./\.\./etc'") as raised:
            await source.look(Wanted(f"{server.base}/x/"), None)
    assert raised.value.trouble is Trouble.REFUSED


@pytest.mark.parametrize("status", [403, 405, 501])
async def test_an_address_that_is_signed_for_get_alone(
    source: HttpSource, tmp_path: Path, status: int
) -> None:
    data = content(300_000)

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(status=status)
        if request.headers.get("Range") == "bytes=0-0":
            told = {"ETag": '"v1"', "Content-Range": f"bytes 0-0/{len(data)}"}
            return web.Response(status=206, body=data[:1], headers=told)
        return give(request, data)

    async with served(handler) as server:
        listing, found = await brought(source, f"{server.base}/m.bin?Sig=5e11", tmp_path / "a")
        assert {each.path for each in server.told} == {"/m.bin?Sig=5e11"}
    assert found == {"m.bin": data}
    assert "5e11" not in repr(listing)


async def test_a_folder_of_pythons_own_server(source: HttpSource, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("1/model.bin", "x y.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "-b", "127.0.0.1", "-d", str(root)]
    with running(command, port, tmp_path / "log"):
        _, found = await brought(source, f"http://127.0.0.1:{port}/", tmp_path / "a")
    assert found == {"1/model.bin": b"1/model.bin", "x y.json": b"x y.json"}


async def test_a_certificate_that_is_trusted(
    server: Nginx, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    downloader = Downloader(FetchLimits(), MANNERS)
    source = HttpSource(downloader)
    url = f"https://localhost:{server.tls['good']}/tree/"
    assert (await brought(source, url, tmp_path / "a"))[1] == FILES
    await downloader.close()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("self-signed", "not signed by anybody who is trusted here .* SSL_CERT_FILE"),
        ("expired", "the server's certificate has expired"),
        ("other host", "for another host name"),
    ],
)
async def test_certificates_that_do_not_verify(
    server: Nginx,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    said: str,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    downloader = Downloader(FetchLimits(), MANNERS)
    with pytest.raises(SourceError, match=said) as raised:
        await HttpSource(downloader).look(
            Wanted(f"https://localhost:{server.tls[name]}/tree/"), None
        )
    await downloader.close()
    assert raised.value.trouble is Trouble.NOT_TRUSTED
    assert "\n" not in str(raised.value)


async def test_a_server_that_speaks_no_tls(source: HttpSource, server: Nginx) -> None:
    with pytest.raises(SourceError, match="no TLS connection") as raised:
        await source.look(Wanted(f"https://127.0.0.1:{server.port}/tree/"), None)
    assert raised.value.trouble is Trouble.UNREACHABLE


async def test_a_redirect_from_https_to_http(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    certificate = authority.sign("redirecting")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 302 Found\r\nLocation: http://localhost/x\r\nContent-Length: 0\r\n\r\n"
        )
        await writer.drain()
        writer.close()

    downloader = Downloader(FetchLimits(), MANNERS)
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SourceError, match="not encrypted any more") as raised:
            await HttpSource(downloader).look(Wanted(f"https://localhost:{port}/x"), None)
    await downloader.close()
    assert raised.value.trouble is Trouble.REFUSED
