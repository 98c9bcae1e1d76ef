"""The page of metrics of a part alone: there while the part runs, and one line when it cannot be."""

from __future__ import annotations

import socket

import httpx
import pytest

from overbook import metrics
from overbook.machine.metrics_page import MetricsPageFailed, shown
from overbook.machine.options import MetricsOptions


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


async def test_it_is_there_while_the_part_runs() -> None:
    metrics.LOADS.labels("page", "0", "ok").inc(3)
    where = MetricsOptions(port=free_port())
    url = f"http://127.0.0.1:{where.port}"
    async with httpx.AsyncClient() as http:
        async with shown(where):
            page = await http.get(f"{url}/metrics")
            assert page.headers["content-type"].startswith("text/plain; version=")
            line = 'overbook_loads_total{replica="0",result="ok",server="page"} 3.0'
            assert line in page.text.splitlines()
            assert (await http.get(f"{url}/other")).status_code == 404
        with pytest.raises(httpx.ConnectError):
            await http.get(f"{url}/metrics")


async def test_without_a_port_there_is_none() -> None:
    async with shown(MetricsOptions()):
        pass


async def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MetricsPageFailed) as failed:
            async with shown(MetricsOptions(port=port)):
                raise AssertionError("it is taken")
    assert str(failed.value) == (
        f"metrics port {port}: is in use on 127.0.0.1; stop what uses it or choose another with --metrics-port"
    )


async def test_an_address_of_another_machine_is_one_line() -> None:
    with pytest.raises(MetricsPageFailed) as failed:
        async with shown(MetricsOptions("192.0.2.1", 9007)):
            raise AssertionError("it is not ours")
    assert str(failed.value) == (
        "metrics address 192.0.2.1:9007: cannot listen there (Cannot assign requested address); "
        "expected an address of this machine"
    )
