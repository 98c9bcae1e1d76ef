"""What the machine and the control groups leave, read from files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

from overbook.agent.memory.machine import Room, room_for

MEMINFO = "MemTotal:       16000 kB\nMemFree:  1 kB\nMemAvailable:    8000 kB\nHugePages_Total: 0\n"


def _machine(root: Path, cgroup: str) -> tuple[Path, Path]:
    proc, groups = root / "proc", root / "cgroup"
    (proc / "7").mkdir(parents=True)
    (proc / "meminfo").write_text(MEMINFO)
    (proc / "7" / "cgroup").write_text(cgroup)
    groups.mkdir()
    return proc, groups


def _group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    proc, groups = _machine(tmp_path, "0::/\n")
    assert room_for(7, proc=proc, groups=groups) == Room(16_384_000, 8_192_000)


def test_version_2_and_the_tightest_group_above(tmp_path: Path) -> None:
    proc, groups = _machine(tmp_path, "0::/pods/one\n")
    _group(groups / "pods", memory__max="4000000", memory__current="3900000")
    _group(
        groups / "pods" / "one",
        memory__max="max",
        memory__current="1000",
        memory__stat="anon 5\ninactive_file 7\n",
    )
    assert room_for(7, proc=proc, groups=groups) == Room(4_000_000, 100_000)
    _group(groups / "pods", memory__stat="inactive_file 50000\n")
    assert room_for(7, proc=proc, groups=groups) == Room(4_000_000, 150_000)


def test_version_1(tmp_path: Path) -> None:
    proc, groups = _machine(tmp_path, "3:cpu:/x\n4:memory:/x\n0::/\n")
    _group(groups / "memory", memory__limit_in_bytes="9223372036854771712")
    _group(
        groups / "memory" / "x",
        memory__limit_in_bytes="2000000",
        memory__usage_in_bytes="2500000",
    )
    assert room_for(7, proc=proc, groups=groups) == Room(2_000_000, 0)


def test_where_nothing_is_told_nothing_is_known(tmp_path: Path) -> None:
    assert room_for(7, proc=tmp_path, groups=tmp_path) is None


def test_the_real_machine() -> None:
    room = room_for(1)
    assert room is not None
    assert 0 < room.available < room.total
