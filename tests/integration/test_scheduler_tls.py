"""The control API with TLS: who is let in, what it is called, and certificates that change."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from overbook.client.control import ControlClient
from overbook.client.errors import ClientError
from overbook.scheduler.part import SchedulerConfig, SchedulerPart, running_scheduler
from overbook.scheduler.web.limits import Limits
from overbook.tls.authority import Made, issue, make_authority
from overbook.tls.files import TlsFiles
from overbook.tls.following import FollowedPair
from tests.unit.tls.certificates import put

NAMES = ("localhost", "127.0.0.1", "overbook.example")


@dataclass(slots=True)
class Api:
    scheduler: SchedulerPart
    authority: Made
    followed: FollowedPair
    folder: Path

    def context(self, shown: Made | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.authority.certificate.decode())
        if shown is not None:
            context.load_cert_chain(*put(self.folder, "shown", shown))
        return context

    def client(self, shown: Made | None = None) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.scheduler.api_url, verify=self.context(shown), timeout=30
        )

    def renew(self, names: Sequence[str] = NAMES) -> None:
        now = time.time()
        put(self.folder, "server", issue(self.authority, "server", now, hosts=names, server=True))
        assert self.followed.look()
        self.followed.hand_on()

    def address(self) -> tuple[str, int]:
        host, _, port = self.scheduler.api_url.removeprefix("https://").rpartition(":")
        return host, int(port)

    async def serial(self) -> str:
        _, writer = await asyncio.open_connection(*self.address(), ssl=self.context())
        shown = writer.get_extra_info("peercert")
        writer.close()
        return str(shown["serialNumber"])


@contextlib.asynccontextmanager
async def api(
    folder: Path, clients: Made | None = None, limits: Limits | None = None
) -> AsyncIterator[Api]:
    now = time.time()
    authority = make_authority("test", now)
    made = issue(authority, "server", now, hosts=NAMES, server=True)
    certificate, key = put(folder, "server", made)
    client_ca = None if clients is None else put(folder, "clients", clients)[0]
    followed = FollowedPair(TlsFiles(certificate, key, client_ca), time.time)
    config = SchedulerConfig(
        state_dir=folder / "scheduler",
        listen="127.0.0.1:0",
        api_port=0,
        tls=followed,
        limits=limits or Limits(),
    )
    async with running_scheduler(config) as scheduler:
        yield Api(scheduler, authority, followed, folder)


async def test_it_speaks_tls_and_nothing_else(tmp_path: Path) -> None:
    async with api(tmp_path) as found, found.client() as client:
        assert found.scheduler.api_url.startswith("https://127.0.0.1:")
        assert (await client.get("/api/v1/models")).json() == []
        plain = found.scheduler.api_url.replace("https", "http")
        async with httpx.AsyncClient() as other:
            with pytest.raises(httpx.TransportError):
                await other.get(f"{plain}/healthz")
        with pytest.raises(ClientError, match="speaks TLS only; ask by https://"):
            await asyncio.to_thread(ControlClient(plain).version)
        old = found.context()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        old.set_ciphers("AES128-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
        async with httpx.AsyncClient(verify=old) as weak:
            with pytest.raises(httpx.ConnectError):
                await weak.get(f"{found.scheduler.api_url}/healthz")


async def test_it_is_known_by_the_names_of_its_certificate(tmp_path: Path) -> None:
    async with api(tmp_path) as found, found.client() as client:
        for host, status in (("overbook.example", 200), ("evil.example", 421)):
            answer = await client.get("/healthz", headers={"host": f"{host}:9001"})
            assert answer.status_code == status
        found.renew(("127.0.0.1", "renewed.example"))
        for host, status in (("overbook.example", 421), ("renewed.example", 200)):
            answer = await client.get("/healthz", headers={"host": f"{host}:9001"})
            assert answer.status_code == status


async def test_a_page_of_the_same_host_in_plain_is_no_page_of_its_own(tmp_path: Path) -> None:
    async with api(tmp_path) as found, found.client() as client:
        for origin, status in (
            (found.scheduler.api_url, 200),
            (found.scheduler.api_url.replace("https", "http"), 403),
        ):
            answer = await client.get("/api/v1/models", headers={"origin": origin})
            assert answer.status_code == status


async def test_certificates_change_under_traffic_without_a_failed_request(tmp_path: Path) -> None:
    async with api(tmp_path) as found, found.client() as kept:
        stop = asyncio.Event()
        asked = 0

        async def ask_on() -> None:
            nonlocal asked
            while not stop.is_set():
                assert (await kept.get("/api/v1/models")).status_code == 200
                async with found.client() as new:
                    assert (await new.get("/healthz")).status_code == 200
                asked += 1

        async with asyncio.TaskGroup() as clients:
            clients.create_task(ask_on())
            seen = {await found.serial()}
            for _ in range(10):
                before = asked
                found.renew()
                seen.add(await found.serial())
                while asked < before + 2:  # noqa: ASYNC110  what is waited for are answers
                    await asyncio.sleep(0.005)
            stop.set()
        assert len(seen) == 11


async def test_clients_show_certificates_where_they_are_asked_and_this_program_is_let_in(
    tmp_path: Path,
) -> None:
    now = time.time()
    clients = make_authority("clients", now)
    theirs = issue(clients, "theirs", now, client=True)
    strangers = issue(make_authority("strangers", now), "strangers", now, client=True)
    async with api(tmp_path, clients) as found:
        async with found.client(theirs) as client:
            assert (await client.get("/healthz")).status_code == 200
        for shown in (None, strangers):
            async with found.client(shown) as client:
                with pytest.raises(httpx.TransportError):
                    await client.get("/healthz")
        for _ in range(2):
            part = found.scheduler
            own = ControlClient(part.api_url, token=part.own_token, context=part.own_context())
            assert await asyncio.to_thread(own.list, "model") == ()
            own.close()
            found.renew()


async def test_who_begins_no_handshake_is_let_go_and_there_are_only_so_many(tmp_path: Path) -> None:
    limits = Limits(connections=4, idle_seconds=1.0)
    async with api(tmp_path, limits=limits) as found, contextlib.AsyncExitStack() as stack:
        silent = []
        for _ in range(40):
            reader, writer = await asyncio.open_connection(*found.address())
            stack.callback(writer.close)
            silent.append(reader)
        cut = await _ended(silent, within=0.5)
        # Those beyond are cut at once, others when they had their time.
        assert 10 < cut < 40
        assert await _ended(silent, within=2.0) == 40
        async with found.client() as client:
            assert (await client.get("/healthz")).status_code == 200


async def _ended(readers: list[asyncio.StreamReader], *, within: float) -> int:
    """How many of these connections the server has closed by then."""
    await asyncio.sleep(within)
    return sum(each.at_eof() or each.exception() is not None for each in readers)


async def test_too_many_connections_are_told_so_over_tls(tmp_path: Path) -> None:
    async with (
        api(tmp_path, limits=Limits(connections=2)) as found,
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(2):
            _, writer = await asyncio.open_connection(*found.address(), ssl=found.context())
            stack.callback(writer.close)
        async with found.client() as client:
            refused = await client.get("/healthz")
        assert refused.status_code == 429
        assert "connections are open already" in refused.json()["error"]
