"""The data port with TLS: the real Envoy, by handshakes and requests from outside, and certificates that change."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import grpc
import httpx
import pytest

from overbook.gateway.snapshot.edge import EdgeLimits
from overbook.tls.authority import Made, issue, make_authority
from overbook.tls.following import FollowedPair
from overbook.wire import oip_pb2
from tests.integration.fake_inference_server import BIG, SERVICE
from tests.integration.gateway_fakes import Secured, World, eventually, running_world
from tests.unit.tls.certificates import HOSTS, put, server_files

MODEL = "iris"


@dataclass(slots=True)
class Door:
    """A gateway behind TLS, and the authority that signed its certificate."""

    world: World
    tls: Secured
    authority: Made
    folder: Path

    async def renew(self) -> None:
        """A new pair, in force when this returns."""
        now = time.time()
        put(self.folder, "server", issue(self.authority, "server", now, hosts=HOSTS, server=True))
        await self.take()

    async def take(self) -> None:
        """What is in the files is in force when this returns."""
        assert self.tls.followed.look()
        self.tls.followed.hand_on()
        feed = self.world.gateway.feed
        await feed.wait_acked(feed.revision, 20)

    async def shake(self, context: ssl.SSLContext | None = None) -> ssl.SSLObject:
        """One connection. Raises what its handshake does, or what the server says of it right then."""
        return await self._connect(context or self.tls.context(), within=0.2)

    async def refused(self, context: ssl.SSLContext) -> None:
        """Fails when such a connection stands."""
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await self._connect(context, within=10)

    async def _connect(self, context: ssl.SSLContext, *, within: float) -> ssl.SSLObject:
        """Waits so long for the server's word on it, which comes after the handshake."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.world.port, ssl=context)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within):
                    if not await reader.read(1):
                        raise ConnectionResetError("the server hung up")
            found = writer.get_extra_info("ssl_object")
            assert isinstance(found, ssl.SSLObject)
            return found
        finally:
            writer.close()

    async def serial(self) -> str:
        """Of the certificate that a new connection is shown."""
        shown = (await self.shake()).getpeercert()
        assert shown is not None
        return str(shown["serialNumber"])


@contextlib.asynccontextmanager
async def door(
    folder: Path,
    *,
    client_ca: bytes = b"",
    shown: Made | None = None,
    edge: EdgeLimits | None = None,
    http2: bool = False,
) -> AsyncIterator[Door]:
    now = time.time()
    authority = make_authority("test", now)
    ca = None
    if client_ca:
        ca = folder / "client-ca.pem"
        ca.write_bytes(client_ca)
    followed = FollowedPair(server_files(folder, authority, now, client_ca=ca), time.time)
    pair = None if shown is None else (shown.certificate, shown.key)
    tls = Secured(followed, authority.certificate, pair, http2)
    async with running_world({MODEL: [0]}, tls=tls, edge=edge) as world:
        await world.make_hot(MODEL)
        yield Door(world, tls, authority, folder)


@pytest.mark.parametrize("http2", [False, True])
async def test_rest_and_grpc_on_one_port(tmp_path: Path, http2: bool) -> None:
    async with door(tmp_path, http2=http2) as found:
        answer = await found.world.infer(MODEL)
        assert answer.status_code == 200
        assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        reply = await found.world.grpc_infer(MODEL)
        assert reply.model_name == MODEL
        assert (await found.world.infer("nobody")).status_code == 404
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await found.world.grpc_infer("nobody")
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_stream_lasts_while_certificates_change(tmp_path: Path) -> None:
    async with door(tmp_path) as found:
        stream: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = (
            found.world.channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
        )
        call = stream(timeout=60)
        message = oip_pb2.ModelInferRequest(model_name=MODEL).SerializeToString()
        for _ in range(3):
            await call.write(message)
            assert await call.read() is not grpc.aio.EOF
            await found.renew()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_what_a_handshake_agrees_on(tmp_path: Path) -> None:
    async with door(tmp_path) as found:
        for offered, agreed in (
            (["h2", "http/1.1"], "h2"),
            (["http/1.1"], "http/1.1"),
            (["spdy/1"], None),
        ):
            context = found.tls.context()
            context.set_alpn_protocols(offered)
            made = await found.shake(context)
            assert (made.selected_alpn_protocol(), made.version()) == (agreed, "TLSv1.3")
        context = found.tls.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        cipher = (await found.shake(context)).cipher()
        assert cipher is not None
        assert cipher[0].startswith("ECDHE-ECDSA-")
        context.set_ciphers("AES128-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
        await found.refused(context)


async def test_old_versions_strangers_and_plain_http_are_refused(tmp_path: Path) -> None:
    async with door(tmp_path) as found:
        old = found.tls.context()
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
            old.minimum_version = ssl.TLSVersion.TLSv1_1
        with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError, match=r"(?i)version"):
            await found.shake(old)
        other = replace(found.tls, ca=make_authority("other", time.time()).certificate)
        with pytest.raises(ssl.SSLCertVerificationError):
            await found.shake(other.context())
        async with httpx.AsyncClient() as plain:
            with pytest.raises(httpx.RemoteProtocolError):
                await plain.get(f"http://127.0.0.1:{found.world.port}/v2/health/live")
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{found.world.port}", options=BIG
        ) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/inference.GRPCInferenceService/ServerLive"
            )
            with pytest.raises(grpc.aio.AioRpcError):
                await call(b"", timeout=5)
        assert (await found.world.infer(MODEL)).status_code == 200


def _more(asked: dict[str, int], before: dict[str, int]) -> bool:
    return all(asked[each] > before[each] for each in asked)


async def test_certificates_change_under_traffic_without_a_failed_request(tmp_path: Path) -> None:
    async with door(tmp_path) as found:
        stop = asyncio.Event()
        asked = {"kept": 0, "new": 0, "grpc": 0, "grpc new": 0}

        async def kept() -> None:
            while not stop.is_set():
                assert (await found.world.infer(MODEL)).status_code == 200
                asked["kept"] += 1

        async def new() -> None:
            while not stop.is_set():
                async with httpx.AsyncClient(verify=found.tls.context(), timeout=30) as client:
                    answer = await client.post(
                        f"https://127.0.0.1:{found.world.port}/v2/models/{MODEL}/infer",
                        content=b"{}",
                    )
                assert answer.status_code == 200
                asked["new"] += 1

        async def over_grpc() -> None:
            while not stop.is_set():
                await found.world.grpc_infer(MODEL)
                asked["grpc"] += 1

        async def over_new_grpc() -> None:
            options = (("grpc.use_local_subchannel_pool", 1),)
            while not stop.is_set():
                credentials = grpc.ssl_channel_credentials(found.tls.ca)
                target = f"127.0.0.1:{found.world.port}"
                async with grpc.aio.secure_channel(target, credentials, options=options) as channel:
                    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                        "/inference.GRPCInferenceService/ServerLive"
                    )
                    await call(b"")
                asked["grpc new"] += 1

        async with asyncio.TaskGroup() as clients:
            for client in (kept, kept, new, over_grpc, over_grpc, over_new_grpc):
                clients.create_task(client())
            seen = {await found.serial()}
            for _ in range(10):
                before = dict(asked)
                await found.renew()
                seen.add(await found.serial())
                await eventually(partial(_more, asked, before), 30)
            stop.set()
        assert len(seen) == 11


async def test_what_does_not_fit_leaves_the_old_one_in_force(tmp_path: Path) -> None:
    async with door(tmp_path) as found:
        before = await found.serial()
        other = issue(
            make_authority("other", time.time()), "x", time.time(), hosts=HOSTS, server=True
        )
        (tmp_path / "server.key").write_bytes(other.key)
        for _ in range(3):
            assert not found.tls.followed.look()
        assert await found.serial() == before
        await found.renew()
        assert await found.serial() != before


async def test_clients_show_a_certificate_of_the_authority_in_force(tmp_path: Path) -> None:
    now = time.time()
    clients, others = make_authority("clients", now), make_authority("others", now)
    theirs = issue(clients, "theirs", now, client=True)
    strangers = issue(others, "strangers", now, client=True)
    async with door(tmp_path, client_ca=clients.certificate, shown=theirs) as found:
        assert (await found.world.infer(MODEL)).status_code == 200
        await found.world.grpc_infer(MODEL)
        stranger = replace(found.tls, shown=(strangers.certificate, strangers.key))
        nobody = replace(found.tls, shown=None)
        for each in (stranger, nobody):
            await found.refused(each.context())
        (tmp_path / "client-ca.pem").write_bytes(others.certificate)
        await found.take()
        await found.shake(stranger.context())
        await found.refused(found.tls.context())
        # Connections from before last.
        assert (await found.world.infer(MODEL)).status_code == 200
        await found.world.grpc_infer(MODEL)


async def test_no_session_outlives_its_authority(tmp_path: Path) -> None:
    now = time.time()
    clients = make_authority("clients", now)
    theirs = issue(clients, "theirs", now, client=True)
    async with door(tmp_path, client_ca=clients.certificate, shown=theirs) as found:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = found.tls.context()
            context.maximum_version = version
            ask = partial(_ask, context, found.world.port)
            session, _ = await asyncio.to_thread(ask, None)
            (tmp_path / "client-ca.pem").write_bytes(make_authority("x", now).certificate)
            await found.take()
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.to_thread(ask, session)
            (tmp_path / "client-ca.pem").write_bytes(clients.certificate)
            await found.take()
            _, reused = await asyncio.to_thread(ask, session)
            assert not reused


def _ask(
    context: ssl.SSLContext, port: int, session: ssl.SSLSession | None
) -> tuple[ssl.SSLSession | None, bool]:
    """The session of a connection on which something was answered, and whether it went on with the one given."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as wrapped,
    ):
        wrapped.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
        assert wrapped.recv(12) == b"HTTP/1.1 200"
        return wrapped.session, bool(wrapped.session_reused)


async def test_a_restarted_envoy_has_what_is_in_force(tmp_path: Path) -> None:
    async with door(tmp_path) as found:
        await found.renew()
        serial = await found.serial()
        envoy = found.world.gateway.envoy
        assert envoy.pid is not None
        pid = envoy.pid
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: envoy.pid not in (None, pid), 20)
        await envoy.wait_live()
        assert await found.serial() == serial


async def test_who_begins_no_handshake_is_let_go(tmp_path: Path) -> None:
    async with door(tmp_path, edge=EdgeLimits(head_seconds=1)) as found:
        with socket.create_connection(("127.0.0.1", found.world.port)) as silent:
            silent.settimeout(10)
            begun = time.monotonic()
            assert await asyncio.to_thread(silent.recv, 1) == b""
            assert 0.5 < time.monotonic() - begun < 5
