"""A child process: its start, its log, its ends, and what an earlier run left. Real little programs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from overbook.agent.servers.launched.process import (
    ProcessSpec,
    ServerProcess,
    end_recorded,
    tail,
    tree_memory,
)
from overbook.agent.servers.protocol import ProcessMemory, ServerStartFailed

SHELL = "/bin/sh"


def spec(folder: Path, script: str) -> ProcessSpec:
    return ProcessSpec(
        command=(SHELL, "-c", script, "child"),
        environment=dict(os.environ),
        folder=folder / "work",
        log=folder / "server.log",
        record=folder / "server.json",
    )


async def started(folder: Path, script: str) -> ServerProcess:
    process = ServerProcess(spec(folder, script))
    await process.start()
    return process


async def test_exit_code_and_log(tmp_path: Path) -> None:
    process = await started(tmp_path, "pwd; echo oh >&2; exit 3")
    assert await process.wait_exit() == 3
    assert process.pid is None
    assert process.exit_code == 3
    assert process.log_tail() == f"{tmp_path / 'work'} | oh"
    assert not (tmp_path / "server.json").exists()
    assert await process.memory() == ProcessMemory(bytes=0, processes=0)


async def test_what_the_child_shares_is_left_when_it_was_killed(tmp_path: Path) -> None:
    write = 'printf told 1<>"/proc/self/fd/$4"; kill -9 $$'
    process = ServerProcess(replace(spec(tmp_path, write), shared=4096))
    assert process.shared == b""
    await process.start()
    assert await process.wait_exit() == -signal.SIGKILL
    assert process.shared == b"told" + bytes(4092)
    process.spec = replace(process.spec, command=(SHELL, "-c", "exit 0", "child"))
    await process.start()
    await process.wait_exit()
    assert process.shared == bytes(4096), "what an earlier child shared is not the next one's"
    process.forget()
    assert process.shared == b""


async def test_stop_is_polite_and_idempotent(tmp_path: Path) -> None:
    process = await started(tmp_path, "exec sleep 60")
    assert process.pid is not None
    await process.stop(grace=5)
    await process.stop(grace=5)
    assert process.exit_code == -signal.SIGTERM


async def test_stop_kills_the_whole_group_in_the_end(tmp_path: Path) -> None:
    process = await started(
        tmp_path, "trap '' TERM; sleep 60 & echo $! >&2; while :; do wait; done"
    )
    grandchild = await first_line(tmp_path / "server.log")
    await process.stop(grace=0.01)
    assert process.exit_code == -signal.SIGKILL
    psutil.wait_procs([p for p in (running(int(grandchild)),) if p], timeout=5)
    assert running(int(grandchild)) is None


async def test_start_twice_is_refused(tmp_path: Path) -> None:
    process = await started(tmp_path, "exec sleep 60")
    with pytest.raises(ServerStartFailed, match="already running"):
        await process.start()
    await process.stop(grace=0)


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    missing = ServerProcess(
        ProcessSpec(("/no/such/program",), {}, tmp_path, tmp_path / "log", tmp_path / "record")
    )
    with pytest.raises(ServerStartFailed, match="cannot run /no/such/program"):
        await missing.start()
    await missing.stop(grace=0)
    with pytest.raises(RuntimeError):
        await missing.wait_exit()


async def test_memory_counts_the_tree(tmp_path: Path) -> None:
    process = await started(tmp_path, "sleep 60 & echo ok; wait")
    await first_line(tmp_path / "server.log")
    memory = await process.memory()
    await process.stop(grace=0)
    assert memory.processes == 2
    assert memory.bytes > 100_000


async def test_the_next_start_ends_what_a_crash_left(tmp_path: Path) -> None:
    left = await started(tmp_path, "exec sleep 60")
    process = await started(tmp_path, "exec sleep 60")
    assert await asyncio.wait_for(left.wait_exit(), 5) == -signal.SIGKILL
    assert process.pid is not None
    await process.stop(grace=0)


def test_a_number_that_somebody_else_has_now_is_left_alone(tmp_path: Path) -> None:
    record = tmp_path / "server.json"
    record.write_text(f'{{"pid": {os.getpid()}, "created": 1.0}}')
    end_recorded(record)
    assert not record.exists()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"pid": "x", "created": 1}'])
def test_a_broken_record_is_nothing(tmp_path: Path, content: str) -> None:
    record = tmp_path / "server.json"
    record.write_text(content)
    end_recorded(record)


def appends(pid: int) -> bool:
    """Whether its standard output is opened for appending."""
    flags = Path(f"/proc/{pid}/fdinfo/1").read_text().split("flags:")[1].split()[0]
    return bool(int(flags, 8) & os.O_APPEND)


def test_a_log_is_appended_to(tmp_path: Path) -> None:
    """By every process at this place, so that it can be shortened while they write."""
    log = tmp_path / "server.log"
    log.write_text("old\n")

    async def run() -> None:
        process = await started(tmp_path, "echo new; sleep 60")
        deadline = time.monotonic() + 5
        while not log.read_text().endswith("new\n"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
        assert process.pid is not None
        assert appends(process.pid)
        await process.stop(grace=0)

    asyncio.run(run())
    assert log.read_text() == "old\nnew\n"


def test_tail_of_what_is_not_there(tmp_path: Path) -> None:
    assert "no log" in tail(tmp_path / "none")
    (tmp_path / "empty").touch()
    assert tail(tmp_path / "empty") == "(its log is empty)"


# A mapped file stands for a library: one that no other process has, which would share in it. The ballast comes from the
# kernel, not from an allocator that may have had some left.
_LIBRARY = 5_000_000
_BALLAST = """
import mmap, sys
file = open(sys.argv[1], "rb")
library = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
touched = library[::4096]
print("started", flush=True)
input()
with mmap.mmap(-1, 20_000_000, flags=mmap.MAP_PRIVATE) as ballast:
    ballast.write(b"x" * 20_000_000)
    print("taken", flush=True)
    input()
print("given back", flush=True)
input()
"""


def test_memory_without_libraries_is_what_a_process_would_give_back(tmp_path: Path) -> None:
    library = tmp_path / "library.so"
    with library.open("wb") as file:
        file.write(bytes(_LIBRARY))
        file.flush()
        os.fsync(file.fileno())  # it counts as the disk's only when it is there
    command = [sys.executable, "-c", _BALLAST, str(library)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        seen = {}
        while line := child.stdout.readline():
            seen[line.strip()] = tree_memory(child.pid, libraries=False).bytes
            with_libraries = tree_memory(child.pid)
            child.stdin.write("\n")
            child.stdin.flush()
    assert 19_000_000 < seen["taken"] - seen["started"] < 25_000_000
    assert seen["given back"] < seen["taken"] - 19_000_000
    assert seen["given back"] <= with_libraries.bytes - _LIBRARY
    assert with_libraries.processes == 1


async def first_line(log: Path) -> str:
    """Wait for the child's first line, in a thread: a file tells nobody that it grew."""

    def read() -> str:
        deadline = time.monotonic() + 5
        while not (text := log.read_text()).endswith("\n"):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return text.split("\n")[0]

    return await asyncio.to_thread(read)


def running(pid: int) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        return process if process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None
