"""Few file descriptors, and many who want one each: the agents, and with them their servers, keep theirs."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from pathlib import Path
from typing import Self

import pytest

from tests.e2e.process import Overbook, server_manifest, wait_until

FEW = 256


class Short(Overbook):
    """May have few files and connections open."""

    def start(self) -> Self:
        super().start()
        assert self.process is not None
        # It looks how many there are only when it has imported a good deal.
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (FEW, FEW))
        return self


def pids(running: Overbook) -> list[int]:
    """Of the inference servers that are ready."""
    replicas = [
        replica
        for server in running.api.get("/api/v1/servers").json()
        for replica in server["status"]["replicas"]
    ]
    return [each["pid"] for each in replicas if each["state"] == "ready"]


@pytest.mark.parametrize("asking", [True, False], ids=["they wait for events", "they say nothing"])
def test_many_connections_end_no_server(tmp_path: Path, asking: bool) -> None:
    with Short(tmp_path) as running:
        assert running.process is not None
        assert running.apply(server_manifest("256Mi")).code == 0
        before = wait_until("a server is ready", lambda: pids(running))
        last = running.api.get("/api/v1/events").json()["last"]
        request = f"GET /api/v1/events?after={last}&wait=60 HTTP/1.1\r\nhost: localhost\r\n\r\n"
        with contextlib.ExitStack() as stack:
            for _ in range(300):
                each = stack.enter_context(socket.socket())
                each.connect(("127.0.0.1", running.api_port))
                if asking:
                    with contextlib.suppress(ConnectionError):
                        each.sendall(request.encode())
            # Agents look at their servers every few seconds, and need a descriptor for it.
            end = time.monotonic() + 15
            while time.monotonic() < end:
                assert running.process.poll() is None
                time.sleep(0.5)
        assert wait_until("the API answers", lambda: pids(running)) == before
    log = (tmp_path / "state" / "overbook.log").read_text()
    assert "Too many open files" not in log
    assert "failed; starting it again" not in log
