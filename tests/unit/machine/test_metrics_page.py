"""The page of metrics of a part alone: there while the part runs, and one line when it cannot be."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path

import httpx
import pytest

from overbook import metrics
from overbook.machine.metrics_page import MetricsPageFailed, shown
from overbook.machine.options import MetricsOptions
from overbook.tls.authority import issue, make_authority
from overbook.tls.following import FollowedPair
from tests.unit.tls.certificates import HOSTS, put, server_files


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


async def test_it_is_there_while_the_part_runs() -> None:
    metrics.LOADS.labels("page", "0", "ok").inc(3)
    where = MetricsOptions(port=free_port())
    url = f"http://127.0.0.1:{where.port}"
    async with httpx.AsyncClient() as http:
        async with shown(where, None):
            page = await http.get(f"{url}/metrics")
            assert page.headers["content-type"].startswith("text/plain; version=")
            line = 'overbook_loads_total{replica="0",result="ok",server="page"} 3.0'
            assert line in page.text.splitlines()
            assert (await http.get(f"{url}/other")).status_code == 404
        with pytest.raises(httpx.ConnectError):
            await http.get(f"{url}/metrics")


async def test_over_tls_it_asks_for_certificates_and_follows_them(tmp_path: Path) -> None:
    now = time.time()
    authority, clients = make_authority("test", now), make_authority("clients", now)
    ca, _ = put(tmp_path, "clients", clients)
    followed = FollowedPair(server_files(tmp_path, authority, now, client_ca=ca), time.time)
    where = MetricsOptions(port=free_port())
    url = f"https://127.0.0.1:{where.port}/metrics"
    context = ssl.create_default_context(cadata=authority.certificate.decode())
    context.load_cert_chain(*put(tmp_path, "client", issue(clients, "client", now, client=True)))
    nobody = ssl.create_default_context(cadata=authority.certificate.decode())
    async with shown(where, followed):
        async with httpx.AsyncClient(verify=context) as http:
            assert (await http.get(url)).status_code == 200
        async with httpx.AsyncClient(verify=nobody) as http:
            with pytest.raises(httpx.TransportError):
                await http.get(url)
        put(tmp_path, "server", issue(make_authority("x", now), "x", now, hosts=HOSTS, server=True))
        assert followed.look()
        followed.hand_on()
        async with httpx.AsyncClient(verify=context) as http:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await http.get(url)


async def test_without_a_port_there_is_none() -> None:
    async with shown(MetricsOptions(), None):
        pass


async def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MetricsPageFailed) as failed:
            async with shown(MetricsOptions(port=port), None):
                raise AssertionError("it is taken")
    assert str(failed.value) == (
        f"metrics port {port}: is in use on 127.0.0.1; stop what uses it or choose another with --metrics-port"
    )


async def test_an_address_of_another_machine_is_one_line() -> None:
    with pytest.raises(MetricsPageFailed) as failed:
        async with shown(MetricsOptions("192.0.2.1", 9007), None):
            raise AssertionError("it is not ours")
    assert str(failed.value) == (
        "metrics address 192.0.2.1:9007: cannot listen there (Cannot assign requested address); "
        "expected an address of this machine"
    )
