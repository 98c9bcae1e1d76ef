"""By which names the API may be asked for."""

from __future__ import annotations

import pytest

from overbook.scheduler.web.hosts import known_hosts

KNOWN = known_hosts("api.lan", "box.example.org", ("Overbook.Example", "*.svc.cluster.local"))


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:9001", "LOCALHOST:9001", "localhost.", "api.lan:9001"),
        *("box", "box.example.org", "overbook.example:443", "a.b.svc.cluster.local"),
        *("127.0.0.1", "127.0.0.1:9001", "10.1.2.3:9001", "[::1]:9001", "[::1]", "[fe80::1]:1"),
    ],
)
def test_addresses_and_names_of_ours(host: str) -> None:
    assert KNOWN.knows(host)


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:9001", "localhost.evil.example", "svc.cluster.local"),
        *("evilsvc.cluster.local.", "", ":9001", "127.0.0.1.evil.example", "[::1", "::1", "[box]"),
        *("evil.example@127.0.0.1", "127.0.0.1/", "local host", "localhost:9001:1", "0x7f.1", "*"),
    ],
)
def test_all_others(host: str) -> None:
    assert not KNOWN.knows(host)


def test_any_name_where_that_was_said() -> None:
    assert known_hosts("0.0.0.0", "", ("*",)).knows("evil.example")
    assert not known_hosts("0.0.0.0", "").knows("evil.example")
    assert not known_hosts("", "").knows("")


def test_names_of_the_certificate_that_is_in_use_now() -> None:
    names = ["Old.example", "*.pods.example"]
    known = known_hosts("", "", (), lambda: names)
    assert known.knows("old.example:9001")
    assert known.knows("a.pods.example")
    names[:] = ["new.example"]
    assert known.knows("new.example")
    assert not known.knows("old.example")
