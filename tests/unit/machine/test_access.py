"""Where tokens are asked for before there is one."""

from __future__ import annotations

import pytest

from overbook.machine.access import asks_always
from overbook.wire.targets import is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_on_loopback_nobody_is_asked(host: str) -> None:
    assert is_loopback(host)
    assert not asks_always(host, insecure=False)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "fe80::1", "::ffff:10.0.0.1", "localhost.example", ""]
)
def test_elsewhere_everybody_is_unless_it_is_said(host: str) -> None:
    assert not is_loopback(host)
    assert asks_always(host, insecure=False)
    assert not asks_always(host, insecure=True)
