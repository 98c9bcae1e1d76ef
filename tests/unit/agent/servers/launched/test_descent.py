"""What descends from a server's process ends with it. Real little programs."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import psutil

from overbook.agent.servers.launched.process import ProcessSpec, ServerProcess, end_recorded


def ended(process: psutil.Process) -> bool:
    """Zombies are whoever's has adopted them."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


_STRAY = """
import os, socket, subprocess, sys, time

listening = socket.socket()
listening.bind(("127.0.0.1", 0))
listening.listen()


def daemonised():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            print(os.getpid(), listening.getsockname()[1], flush=True)
            time.sleep(600)
        os._exit(0)


def in_other_clothes():
    program = "import time; time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", program], env={}, start_new_session=True)
    print(child.pid, listening.getsockname()[1], flush=True)


{way}()
time.sleep(600)
"""


async def stray(folder: Path, way: str) -> tuple[ServerProcess, psutil.Process, int]:
    """A child, what it left, and the port at which both listen."""
    program = _STRAY.replace("{way}", way)
    process = ServerProcess(
        ProcessSpec(
            command=(sys.executable, "-c", program, "child"),
            environment=dict(os.environ),
            folder=folder / "work",
            log=folder / "log",
            record=folder / "record",
        )
    )
    await process.start()
    text = ""
    while len(text.split()) < 2:
        await asyncio.sleep(0.02)
        text = (folder / "log").read_text()
    pid, port = text.split()
    return process, psutil.Process(int(pid)), int(port)


async def test_what_a_child_daemonised_ends_with_it_and_gives_its_ports_back(
    tmp_path: Path,
) -> None:
    process, left, port = await stray(tmp_path, "daemonised")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    await process.wait_exit()
    assert ended(left)
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))
        free.listen()


async def test_what_has_another_environment_and_session_ends_too_once_it_was_seen(
    tmp_path: Path,
) -> None:
    process, left, _ = await stray(tmp_path, "in_other_clothes")
    await process.look()
    await process.stop(grace=0)
    assert ended(left)


async def test_what_an_agent_that_was_killed_left_is_found_by_its_record(tmp_path: Path) -> None:
    process, left, _ = await stray(tmp_path, "daemonised")
    assert process.pid is not None
    end_recorded(tmp_path / "record")
    assert ended(left)
    await process.stop(grace=0)


async def test_nobody_else_is_ended(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    process, left, _ = await stray(tmp_path / "one", "daemonised")
    other, _, _ = await stray(tmp_path / "other", "daemonised")
    await other.stop(grace=0)
    assert left.is_running()
    await process.stop(grace=0)
