"""Memory of Python's own small objects: what the launcher gives back, in a fresh interpreter of the runtime."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.integration import mlserver_harness

MB = 1_000_000
_INSIDE = """
import json, sys
from overbook_mlserver import pools
pools.watch(sys.argv[1])

def held():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Anonymous:")) * 1024

def words(count, mark):
    return {f"{mark}-{number:012}": number + 10_000_000 for number in range(count)}

pools.give_back()
before = held()
large, survivors = [], []
for turn in range(40):
    large.append(words(10_000, f"large{turn}"))
    survivors.append(words(20, f"small{turn}"))
full = held()
large.clear()
kept = held()
given = pools.give_back()
left = held()
again = [words(10_000, f"again{turn}") for turn in range(20)]
right = all(each == words(20, f"small{turn}") for turn, each in enumerate(survivors))
right = right and all(each == words(10_000, f"again{turn}") for turn, each in enumerate(again))
print(json.dumps({"full": full - before, "kept": kept - before, "given": given, "left": left - before, "right": right}))
"""


def _run(folder: Path, **environment: str) -> tuple[dict[str, int], str]:
    runtime = mlserver_harness.runtime()
    done = subprocess.run(
        [str(runtime.python), "-c", _INSIDE, str(folder)],
        env={"PYTHONPATH": str(runtime.plugin), "PATH": "/usr/bin:/bin"} | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found, done.stderr


def test_what_small_objects_leave_goes_back_to_the_kernel(tmp_path: Path) -> None:
    """Without it most of what the large ones took stays, for a few small ones that came in between."""
    found, _ = _run(tmp_path / "native")
    assert found["full"] > 40 * MB
    assert found["kept"] > 10 * MB, "there is something to give back"
    assert found["given"] == found["kept"] - found["left"]
    assert found["left"] < 0.4 * found["kept"]
    assert found["right"], "whatever is alive is as it was, and what is taken again is as new"
    [library] = (tmp_path / "native").iterdir()
    made = library.stat().st_mtime_ns
    _run(tmp_path / "native")
    assert library.stat().st_mtime_ns == made, "compiled once"


def test_without_a_compiler_or_with_another_allocator_it_stays_where_it_is(tmp_path: Path) -> None:
    found, told = _run(tmp_path / "native", PATH=str(tmp_path))
    assert found["given"] == 0
    assert found["right"]
    assert "no C compiler" in told
    found, told = _run(tmp_path / "native", PYTHONMALLOC="malloc")
    assert found["given"] == 0
    assert found["right"]
    assert "another allocator" in told
