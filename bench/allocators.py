"""Which allocator gives the memory of unloaded models back, and what it costs: `python -m bench.allocators`.

For MLServer. Large forests (many small arrays) and plain arrays are loaded and unloaded in turns around small
models that stay, which is what fragments a heap. jemalloc and tcmalloc are tried where they are installed (Debian:
libjemalloc2, libtcmalloc-minimal4). Prints a table in Markdown; nothing of it is checked.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import joblib
import numpy as np
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier

from overbook.agent.memory.readings import read_tree
from overbook.agent.servers.mlserver.server import MlserverConfig, MlserverServer
from overbook.agent.servers.protocol import PreparedModel
from overbook.runtimes.install import environment

MB: Final = 1e6
CYCLES: Final = 6
_LIBRARIES: Final = Path("/usr/lib/x86_64-linux-gnu")
_GLIBC: Final = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "65536"}
_PLAIN: Final = {"MALLOC_ARENA_MAX": "", "MALLOC_TRIM_THRESHOLD_": ""}
SETTINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "glibc as it is": _PLAIN,
    "glibc, 2 arenas, trim at 64 KiB": _GLIBC,
    "glibc, 1 arena, trim at 64 KiB": _GLIBC | {"MALLOC_ARENA_MAX": "1"},
    "glibc, 2 arenas, trim, mmap from 64 KiB": _GLIBC | {"MALLOC_MMAP_THRESHOLD_": "65536"},
    "glibc, 2 arenas, trim, huge pages": _GLIBC | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
    "jemalloc": _PLAIN | {"LD_PRELOAD": str(_LIBRARIES / "libjemalloc.so.2")},
    "jemalloc, decay 0": _PLAIN
    | {
        "LD_PRELOAD": str(_LIBRARIES / "libjemalloc.so.2"),
        "MALLOC_CONF": "dirty_decay_ms:0,muzzy_decay_ms:0,narenas:2",
    },
    "tcmalloc": _PLAIN
    | {
        "LD_PRELOAD": str(_LIBRARIES / "libtcmalloc_minimal.so.4"),
        "TCMALLOC_RELEASE_RATE": "10",
    },
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Medians of milliseconds; bytes beyond the empty process: of the small models, and with all large ones gone."""

    load: float
    unload: float
    small: int
    left: list[int]


def _artifacts(folder: Path) -> tuple[list[Path], list[Path]]:
    """Large ones and small ones."""
    inputs, target = make_classification(4000, 20, n_informative=15, random_state=1)
    large, small = [], []
    for number in range(6):
        home = folder / f"large-{number}"
        home.mkdir(parents=True)
        if number % 2:
            estimator = RandomForestClassifier(3, random_state=number).fit(inputs, target)
            estimator.ballast_ = np.random.default_rng(number).random(100_000_000 // 8)
        else:
            estimator = RandomForestClassifier(500, random_state=number, n_jobs=2)
            estimator.fit(inputs, target)
        joblib.dump(estimator, home / "model.joblib")
        large.append(home)
    for number in range(40):
        home = folder / f"small-{number}"
        home.mkdir(parents=True)
        forest = RandomForestClassifier(5, random_state=number).fit(inputs[:400], target[:400])
        joblib.dump(forest, home / "model.joblib")
        small.append(home)
    return large, small


async def _run(variables: Mapping[str, str], large: list[Path], small: list[Path]) -> Outcome:
    runtime = environment("mlserver")
    with tempfile.TemporaryDirectory(prefix="ob-alloc-") as folder:
        config = MlserverConfig(runtime.python, runtime.plugin, Path(folder), variables=variables)
        server = MlserverServer(config)
        await server.start(timeout=60)
        try:
            return await _cycles(server, large, small)
        finally:
            await server.close()


async def _cycles(server: MlserverServer, large: list[Path], small: list[Path]) -> Outcome:
    order, loads, unloads, left = random.Random(1), list[float](), list[float](), list[int]()
    base = _held(server)

    async def load(artifact: Path) -> float:
        began = time.perf_counter()
        prepared = PreparedModel(artifact.name, 1, artifact, ("sklearn",))
        await server.load(prepared, timeout=60)
        return (time.perf_counter() - began) * 1000

    async def unload(artifact: Path) -> float:
        began = time.perf_counter()
        await server.unload(artifact.name, timeout=60)
        return (time.perf_counter() - began) * 1000

    for each in small[:20]:
        await load(each)
    after_small = _held(server) - base
    for cycle in range(CYCLES):
        # Small ones come and go in between, so that they lie among the large ones.
        leaving, coming = (small[:20], small[20:]) if cycle % 2 == 0 else (small[20:], small[:20])
        for number, each in enumerate(order.sample(large, len(large))):
            loads.append(await load(each))
            for other in leaving[number * 3 : number * 3 + 3]:
                await unload(other)
            for other in coming[number * 3 : number * 3 + 3]:
                await load(other)
        for other, replaced in zip(coming[18:], leaving[18:], strict=True):
            await load(other)
            await unload(replaced)
        for each in order.sample(large, len(large)):
            unloads.append(await unload(each))
        await asyncio.sleep(0.2)
        left.append(_held(server) - base)
    return Outcome(median(loads), median(unloads), after_small, left)


def _held(server: MlserverServer) -> int:
    found = read_tree(server.pid or 0)
    return 0 if found is None else found[0].held


def main() -> None:
    """Print the table."""
    print("| setting | load ms | unload ms | 20 small models MB | left after each cycle of 6, MB |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="ob-alloc-zoo-") as folder:
        large, small = _artifacts(Path(folder))
        for name, variables in SETTINGS.items():
            preload = variables.get("LD_PRELOAD")
            if preload and not Path(preload).exists():
                print(f"| {name} | not installed | | | |")
                continue
            found = asyncio.run(_run(variables, large, small))
            left = ", ".join(f"{each / MB:.1f}" for each in found.left)
            print(
                f"| {name} | {found.load:.0f} | {found.unload:.0f} | {found.small / MB:.1f} | {left} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
