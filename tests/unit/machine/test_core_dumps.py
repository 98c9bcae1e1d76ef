"""No core dumps: a process that holds a secret and crashes leaves it nowhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CRASH = """
import os, resource, sys
_, allowed = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (allowed, allowed))
if "off" in sys.argv:
    from overbook.machine import core_dumps
    core_dumps.switch_off()
print(resource.getrlimit(resource.RLIMIT_CORE)[0], open("/proc/self/coredump_filter").read().strip())
child = os.popen("ulimit -S -c; cat /proc/self/coredump_filter").read().split()
print(*child, flush=True)
held = "hunter" + str(1 + 1) * 40
os.abort()
"""


def crashed(folder: Path, *arguments: str) -> list[str]:
    """What a process says that crashes in this folder."""
    folder.mkdir()
    command = [sys.executable, "-c", CRASH, *arguments]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == -6, ended.stderr
    return ended.stdout.splitlines()


def test_a_crash_leaves_nothing_behind(tmp_path: Path) -> None:
    assert crashed(tmp_path / "off", "off") == ["0 00000000", "0 00000000"]
    assert list((tmp_path / "off").iterdir()) == []
    # Where the machine writes them at all, one would have been there, with the secret in it.
    crashed(tmp_path / "on")
    for core in (tmp_path / "on").iterdir():
        assert b"hunter" + b"2" * 40 in core.read_bytes()
