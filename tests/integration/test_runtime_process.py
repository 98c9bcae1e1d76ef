"""MLServer as a process: it ends with its agent, and says why it did not start."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from overbook.agent.servers.protocol import ServerStartFailed, ServerUnreachable
from tests.integration import mlserver_harness, own_doors

_AGENT = """
import asyncio, sys
from pathlib import Path
from overbook.agent.servers.mlserver.server import MlserverConfig, MlserverServer

async def main():
    server = MlserverServer(MlserverConfig(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])))
    await server.start(timeout=60)
    print(server.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_no_orphan_outlives_an_agent_that_was_killed(tmp_path: Path) -> None:
    made = mlserver_harness.runtime()
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _AGENT),
        *(str(made.python), str(made.plugin), str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert agent.stdout is not None
    pid = int(await asyncio.wait_for(agent.stdout.readline(), 60))
    orphan = psutil.Process(pid)
    agent.send_signal(signal.SIGKILL)
    await agent.wait()
    await asyncio.to_thread(orphan.wait, 10)
    assert not orphan.is_running()


async def test_a_socket_that_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    server = mlserver_harness.server(tmp_path)
    in_the_way = Path(own_doors.path_of(server.addresses.rest)).parent
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.symlink_to(tmp_path)
    with pytest.raises(ServerStartFailed, match="is a link") as raised:
        await server.start(timeout=60)
    assert "\n" not in str(raised.value)
    assert server.pid is None
    with pytest.raises(ServerUnreachable):
        await server.index(timeout=1)
    in_the_way.unlink()
    # It is out of the way: the same adapter starts.
    await server.start(timeout=60)
    await server.stop(grace=10)
    await server.close()
    assert not in_the_way.exists()


async def test_a_start_that_takes_too_long_leaves_no_process(tmp_path: Path) -> None:
    server = mlserver_harness.server(tmp_path)
    with pytest.raises(ServerStartFailed, match=r"not live after 0\.05 s"):
        await server.start(timeout=0.05)
    assert server.pid is None
    assert not (tmp_path / "server.json").exists()
    await server.close()


async def test_settings_in_the_environment_do_not_leak_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLSERVER_HTTP_PORT", "1")
    monkeypatch.setenv("MLSERVER_MODEL_IMPLEMENTATION", "no.Such")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server = mlserver_harness.server(tmp_path)
    await server.start(timeout=60)
    assert server.pid is not None
    assert os.getpgid(server.pid) == server.pid
    assert await server.live(timeout=5)
    await server.stop(grace=10)
    await server.close()
