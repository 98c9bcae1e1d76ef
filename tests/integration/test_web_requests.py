"""Where requests may go: redirects, metadata servers, proxies. What they tell whom, and what errors tell people."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.web.connect.masking import Mask
from overbook.artifacts.sources.web.connect.zones import Zone
from overbook.artifacts.sources.web.download import Answer, Downloader, Network, Question
from overbook.artifacts.sources.web.files import WebFile
from tests.integration.web_harness import (
    FAR,
    MANNERS,
    Handler,
    Names,
    content,
    far_is_public,
    found_in,
    give,
    served,
    without_proxies,
)

KEY = {"X-Key": "t0psecret"}
DATA = content(100_000)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)


@pytest.fixture
async def downloader() -> AsyncIterator[Downloader]:
    made = Downloader(FetchLimits(), MANNERS)
    yield made
    await made.close()


def redirecting(location: str, status: int = 302) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": location})

    return handler


async def answering(request: web.Request) -> web.StreamResponse:
    return give(request, DATA)


async def refused(downloader: Downloader, url: str, said: str) -> SourceError:
    with pytest.raises(SourceError, match=said) as raised:
        await downloader.ask(url, KEY)
    assert raised.value.trouble is Trouble.REFUSED
    assert "t0psecret" not in str(raised.value)
    return raised.value


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_on_this_machine_is_followed_without_what_is_private(
    downloader: Downloader, tmp_path: Path, status: int
) -> None:
    async with (
        served(answering) as target,
        served(redirecting(f"{target.base}/y?Signature=5e11%2F", status)) as first,
    ):
        file = first.file("x", len(DATA))
        await downloader.bring([file], tmp_path / "a", lambda more: None)
    assert found_in(tmp_path / "a") == {"x": DATA}
    assert first.told[0].headers["x-key"] == "t0psecret"
    assert target.told[0].path == "/y?Signature=5e11%2F"
    assert "x-key" not in target.told[0].headers


async def test_back_at_the_first_server_it_is_known_again(downloader: Downloader) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/x":
            return web.Response(status=302, headers={"Location": "/y"})
        return web.Response(text=request.headers["X-Key"])

    async with served(handler) as server:
        answer = await downloader.ask(f"{server.base}/x", KEY)
    assert answer == Answer(
        200, answer.headers, b"t0psecret", f"{server.base}/y", Zone.LOOPBACK, Mask({})
    )
    assert "t0psecret" not in repr(answer)


async def test_five_redirects_are_followed_and_no_sixth(downloader: Downloader) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        left = int(request.path[1:])
        if left == 0:
            return web.Response(text="here")
        return web.Response(status=302, headers={"Location": f"/{left - 1}?token=t0psecret"})

    async with served(handler) as server:
        assert (await downloader.ask(f"{server.base}/5", {})).body == b"here"
        await refused(downloader, f"{server.base}/6", "/6 redirects more than 5 times")


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("file:///etc/passwd", "redirects to a 'file' address"),
        (
            "http://169.254.169.254/latest/meta-data/",
            "169.254.169.254: refused, as it is link-local",
        ),
        ("http://[fe80::1]/", "fe80::1: refused"),
        ("http://[::ffff:169.254.169.254]/", "refused"),
        (
            "http://metadata.google.internal/computeMetadata/v1/",
            "metadata.google.internal: refused",
        ),
        ("http://168.63.129.16/", "refused"),
        ("http://2852039166/", "without a proper host"),
    ],
)
async def test_redirects_that_lead_to_files_or_metadata_are_refused(
    downloader: Downloader, location: str, said: str
) -> None:
    async with served(redirecting(location)) as server:
        await refused(downloader, f"{server.base}/x", said)
        assert len(server.told) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/",
        "http://[fd00:ec2::254]/",
        "http://metadata.google.internal./x",
        "https://100.100.100.200/",
    ],
)
async def test_metadata_servers_are_not_asked_first_either(
    downloader: Downloader, url: str
) -> None:
    await refused(downloader, url, "refused")


async def test_a_name_that_leads_to_a_metadata_server_is_refused() -> None:
    names = Names(models_example=["169.254.169.254"])
    downloader = Downloader(FetchLimits(), MANNERS, Network(resolver=lambda: names))
    await refused(
        downloader, "http://models.example/", "models.example: refused, as it is link-local"
    )
    await downloader.close()
    assert names.asked == ["models.example"]


async def test_from_the_internet_no_redirect_leads_to_this_machine() -> None:
    downloader = Downloader(FetchLimits(), MANNERS, Network(zone_of=far_is_public))
    async with served(answering) as here:
        # One that may be reused, made when it was allowed.
        await downloader.ask(f"{here.base}/first", {})
        async with served(redirecting(f"{here.base}/y"), FAR) as far:
            await refused(
                downloader, f"{far.base}/x", "127.0.0.1: refused, as a server farther away"
            )
        assert len(here.told) == 1
    await downloader.close()


async def test_nor_by_a_name_that_leads_elsewhere_the_second_time() -> None:
    """The name is in the internet when it is looked up first, and this machine afterwards."""
    names = Names(rebound_example=[FAR, "127.0.0.1"])
    network = Network(resolver=lambda: names, zone_of=far_is_public)
    downloader = Downloader(FetchLimits(), MANNERS, network)
    async with served(answering) as here:
        port = here.base.rpartition(":")[2]
        target = f"http://rebound.example:{port}/secret"
        async with served(redirecting(target), FAR) as far:
            far_port = far.base.rpartition(":")[2]
            await refused(
                downloader, f"http://rebound.example:{far_port}/x", "rebound.example: refused"
            )
        assert here.told == []
    await downloader.close()


async def test_nor_over_a_server_that_is_on_the_way() -> None:
    """From this machine outwards and back in."""
    downloader = Downloader(FetchLimits(), MANNERS, Network(zone_of=far_is_public))
    async with (
        served(answering) as here,
        served(redirecting(f"{here.base}/y"), FAR) as far,
        served(redirecting(f"{far.base}/x")) as first,
    ):
        await refused(downloader, f"{first.base}/x", "127.0.0.1: refused")
        assert here.told == []
    await downloader.close()


async def test_a_proxy_of_the_environment_is_asked(
    downloader: Downloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def proxy(request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"{request.raw_path} {request.headers.get('Proxy-Authorization')}")

    async with served(proxy) as server, served(answering) as other:
        monkeypatch.setenv("HTTP_PROXY", server.base.replace("://", "://eva:pw@"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,internal.example")
        answer = await downloader.ask("http://models.example/x?y=1", {})
        assert answer.body == b"http://models.example/x?y=1 Basic ZXZhOnB3"
        await downloader.ask(other.base, {})
        assert len(server.told) == 1


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest/", "http://metadata.google.internal/"]
)
async def test_nor_does_a_proxy_ask_metadata_servers(
    downloader: Downloader, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    async with served(answering) as server, served(redirecting(url)) as first:
        monkeypatch.setenv("http_proxy", server.base)
        await refused(downloader, url, "refused")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        await refused(downloader, first.base, "refused")
        assert server.told == []


async def test_a_proxy_that_is_none_of_http_is_named(
    downloader: Downloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    with pytest.raises(SourceError, match="http_proxy in the environment names a 'socks5' proxy"):
        await downloader.ask("http://models.example/", {})


async def test_passwords_of_a_netrc_are_not_sent(
    downloader: Downloader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login eva password t0psecret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    async with served(answering) as server:
        await downloader.ask(server.base, {})
    assert "authorization" not in server.told[0].headers


@pytest.mark.parametrize("status", [401, 403])
async def test_who_is_not_allowed(downloader: Downloader, tmp_path: Path, status: int) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    async with served(handler) as server:
        file = server.file("x", 1, secret="shelf")
        signed = WebFile(file.file, f"{file.url}?Signature=5e11", file.headers, secret="shelf")
        with pytest.raises(
            SourceError, match=rf"/x: not allowed \({status}\); secret shelf"
        ) as raised:
            await downloader.bring([signed], tmp_path / "a", lambda more: None)
        assert len(server.told) == 1
    assert raised.value.trouble is Trouble.NOT_ALLOWED
    for secret in ("t0psecret", "5e11"):
        assert secret not in str(raised.value)
        assert secret not in repr(signed)


@pytest.mark.parametrize("value", ["1", None])
async def test_a_server_that_is_busy_is_waited_for(
    downloader: Downloader, tmp_path: Path, value: str | None
) -> None:
    answered: list[float] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        answered.append(time.monotonic())
        if len(answered) < 3:
            return web.Response(status=429, headers={} if value is None else {"Retry-After": value})
        return give(request, DATA)

    async with served(handler) as server:
        await downloader.bring([server.file("x", len(DATA))], tmp_path / "a", lambda more: None)
    assert len(answered) == 3
    assert value is None or answered[2] - answered[0] >= 2.0


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_that_wants_more_time_than_a_call_has(
    downloader: Downloader, tmp_path: Path, status: int
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Retry-After": "3600"})

    async with served(handler) as server:
        for asking in (
            downloader.ask(f"{server.base}/x", {}),
            downloader.bring([server.file("x", 1)], tmp_path / "a", lambda more: None),
        ):
            with pytest.raises(SourceError, match=r"come later .*in 3600 s") as raised:
                await asking
            assert raised.value.trouble is Trouble.BUSY
            assert raised.value.retry_after == 3600
        assert len(server.told) == 2


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_server_that_fails_is_asked_four_times(downloader: Downloader, status: int) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    async with served(handler) as server:
        with pytest.raises(SourceError, match="the server failed") as raised:
            await downloader.ask(f"{server.base}/x", {})
        assert len(server.told) == 4
    assert raised.value.trouble is Trouble.UNREACHABLE


async def test_nobody_is_there(downloader: Downloader) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(SourceError, match=r"no connection \(connection refused\)") as raised:
            await downloader.ask(f"http://127.0.0.1:{port}/x", {})
    assert raised.value.trouble is Trouble.UNREACHABLE


async def test_no_such_host(downloader: Downloader) -> None:
    for host in ("nobody.invalid", f"{'x' * 70}.invalid"):
        with pytest.raises(SourceError, match=r"no such host|no address"):
            await downloader.ask(f"http://{host}/x", {})


async def test_an_answer_that_is_too_large_is_not_read(downloader: Downloader) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(100_000))

    async with served(handler) as server:
        await refused(downloader, f"{server.base}/x", "more than 8388608 bytes")


async def test_statuses_that_are_wanted_are_answers(downloader: Downloader) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=401, text="who?", headers={"WWW-Authenticate": "Bearer x"})

    async with served(handler) as server:
        question = Question(answers=frozenset({200, 401}))
        answer = await downloader.ask(f"{server.base}/x", {}, question)
    assert (answer.status, answer.body) == (401, b"who?")
    assert answer.headers["www-authenticate"] == "Bearer x"


async def test_a_redirect_can_be_looked_at_instead_of_followed(downloader: Downloader) -> None:
    async with served(redirecting("file:///x")) as server:
        question = Question("HEAD", answers=frozenset({302}), follow=False)
        answer = await downloader.ask(f"{server.base}/x", {}, question)
        assert server.asked() == ["HEAD /x"]
    assert answer.headers["location"] == "file:///x"


async def test_an_answer_that_trickles_in_has_an_end() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.05)

    downloader = Downloader(FetchLimits(), replace(MANNERS, answer=0.3, tries=1))
    async with served(handler) as server:
        with pytest.raises(SourceError, match="no whole answer within"):
            await downloader.ask(f"{server.base}/x", {})
    await downloader.close()
