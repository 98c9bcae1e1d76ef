"""Which targets only this machine can reach."""

from __future__ import annotations

import pytest

from overbook.wire.targets import is_near, is_unix


@pytest.mark.parametrize(
    "target",
    [
        *("127.0.0.1:9005", "127.1.2.3:1", "localhost:9005", "[::1]:9005", "::1:9005"),
        *("unix:/run/x.sock", "unix:///run/x.sock", "unix-abstract:x"),
        *("dns:///localhost:1", "dns:localhost:1", "ipv4:127.0.0.1:1", "ipv6:[::1]:1"),
    ],
)
def test_near(target: str) -> None:
    assert is_near(target)


@pytest.mark.parametrize(
    "target",
    [
        *(
            "0.0.0.0:9005",
            "[::]:9005",
            ":::9005",
            "10.0.0.5:9005",
            "overbook.example:9005",
            "9005",
            "",
        ),
        *("localhost", "localhost:x", "localhost.example:1", "127.0.0.1.example:1", "*:9005"),
        *(
            "dns://resolver.example/localhost:1",
            "vsock:2:1",
            "xds:///localhost:1",
            "ipv4:10.0.0.1:1",
        ),
    ],
)
def test_far(target: str) -> None:
    assert not is_near(target)


def test_sockets_in_the_file_system_are_no_ports() -> None:
    assert is_unix("unix:x")
    assert not is_unix("unix.example:1")
