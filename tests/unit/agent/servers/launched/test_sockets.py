"""Where a started server listens: Unix sockets that nobody else reaches."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from overbook.agent.servers.launched.sockets import ServerSockets
from overbook.agent.servers.protocol import ServerStartFailed


def listening(address: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(address.removeprefix("unix:"))
    made.listen()
    return made


def folder_of(sockets: ServerSockets) -> Path:
    return Path(sockets.addresses.rest.removeprefix("unix:")).parent


def test_a_server_has_those_that_it_serves() -> None:
    plain = ServerSockets(Path("/state")).addresses
    assert plain.rest == "unix:/state/sockets/rest"
    # What gRPC servers make of a host and a port.
    assert plain.grpc == "unix:/state/sockets/grpc:1"
    assert plain.infer == plain.metrics == ""
    more = ServerSockets(Path("/state"), infer=True, metrics=True).addresses
    assert (more.infer, more.metrics) == (
        "unix:/state/sockets/infer",
        "unix:/state/sockets/metrics",
    )


def test_a_spare_beside_it_has_others() -> None:
    assert ServerSockets(Path("/state")).addresses != ServerSockets(Path("/state/spare")).addresses


def test_what_an_earlier_server_left_is_gone_before_the_next_one_begins(tmp_path: Path) -> None:
    sockets = ServerSockets(tmp_path)
    sockets.prepare()
    with listening(sockets.addresses.rest):
        # It may live on in a child of its own: its socket is nobody's way to anything.
        sockets.prepare()
        with listening(sockets.addresses.rest):
            sockets.close()
    assert folder_of(sockets).stat().st_mode & 0o777 == 0o700
    (left,) = folder_of(sockets).iterdir()
    assert left.stat().st_mode & 0o777 == 0o600
    sockets.remove()
    assert not folder_of(sockets).exists()
    sockets.remove()


def test_a_folder_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    sockets = ServerSockets(tmp_path)
    folder_of(sockets).parent.mkdir(exist_ok=True)
    folder_of(sockets).symlink_to(tmp_path)
    with pytest.raises(ServerStartFailed, match=f"cannot make sockets in {folder_of(sockets)}"):
        sockets.prepare()
    folder_of(sockets).unlink()
