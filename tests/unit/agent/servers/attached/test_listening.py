"""Who listens at an address of this machine, and what a name resolves to."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from overbook.agent.servers.attached.listening import listening_process, resolved
from overbook.agent.servers.protocol import ServerUnreachable


def test_a_listener_is_found_by_port_and_command() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        # pytest itself listens: its command line names the interpreter.
        assert listening_process(address, Path(sys.executable).name) == os.getpid()
        assert listening_process(address, "docker-proxy") is None
    assert listening_process(address, Path(sys.executable).name) is None


def test_processes_of_other_machines_are_not_looked_for() -> None:
    assert listening_process("192.0.2.1:8000", "") is None


async def test_addresses_stay_and_names_are_resolved() -> None:
    assert await resolved("rest", "192.0.2.1:8000") == "192.0.2.1:8000"
    assert await resolved("rest", "[::1]:8000") == "[::1]:8000"
    assert await resolved("rest", "localhost:8000") in ("127.0.0.1:8000", "[::1]:8000")
    with pytest.raises(ServerUnreachable, match=r"spec\.address\.grpc: 'no-such.invalid' cannot"):
        await resolved("grpc", "no-such.invalid:8000")
