"""Memory of one server replica against its budget over time: sampled from the kernel and the API, drawn as PNG."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import matplotlib
import psutil

matplotlib.use("Agg")
from matplotlib import pyplot

from overbook.agent.memory.readings import read_tree
from tests.e2e.process import Overbook

MB = 1e6
# What the process holds beyond base may be this many times what is charged, at rest.
LOWEST, HIGHEST = 0.9, 1.05


@dataclass(frozen=True, slots=True)
class Moment:
    """Seconds since the beginning, and bytes: of the tree by the kernel, of the ledger, of the empty process."""

    seconds: float
    pid: int
    held: int
    charged: int
    base: int


@dataclass(frozen=True, slots=True)
class Rest:
    """What is seen while nothing is asked for. ``held``: bytes of the process beyond its base, read by the test from
    the kernel; ``charged``: bytes in the ledger.
    """

    seconds: float
    held: int
    charged: int

    @property
    def unaccounted(self) -> int:
        """Bytes that the process holds and that no model is charged for."""
        return self.held - self.charged

    @property
    def ratio(self) -> float:
        return self.held / self.charged

    def __str__(self) -> str:
        return f"{self.held / MB:.2f} MB held, {self.charged / MB:.2f} MB charged"


def anonymous(pid: int) -> int:
    """Bytes of a process and all below it that are not pages of files, as the kernel tells."""
    total = 0
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        # One that ends meanwhile holds nothing.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            [line] = [line for line in text.splitlines() if line.startswith("Anonymous:")]
            total += int(line.split()[1]) * 1024
    return total


class Recorder:
    """Samples until left. ``base`` of a process is what it held when it was first seen."""

    def __init__(self, running: Overbook, *, server: str = "mlserver", pause: float = 0.25) -> None:
        self._running = running
        self._server = server
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="recorder")
        self._bases: dict[int, int] = {}
        self.moments: list[Moment] = []
        self.failure: BaseException | None = None

    def __enter__(self) -> Self:
        self.began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert self.failure is None, self.failure

    def _sample(self) -> None:
        try:
            while not self._stop.wait(self._pause):
                moment = self.look()
                if moment is not None:
                    self.moments.append(moment)
        except BaseException as error:
            self.failure = error

    def look(self) -> Moment | None:
        """How it is now; None while the server is not ready."""
        try:
            [replica] = [
                replica
                for server in self._running.servers()
                if server["metadata"]["name"] == self._server
                for replica in server["status"]["replicas"]
            ]
        except (httpx.HTTPError, ValueError):
            return None
        pid = replica["pid"]
        found = read_tree(pid) if pid else None
        if found is None or replica["state"] != "ready":
            return None
        held = found[0].held
        base = self._bases.setdefault(pid, held)
        return Moment(
            time.monotonic() - self.began, pid, held, int(replica["bytes"]["resident"]), base
        )


def draw(
    moments: Sequence[Moment], budget: int, title: str, path: Path, rests: Sequence[Rest] = ()
) -> None:
    """What the process holds beyond its base, and what the ledger says, against the budget.

    ``rests``: what was seen at rest, in a panel below.
    """
    if rests:
        figure, (axes, below) = pyplot.subplots(
            2, 1, figsize=(10, 6.5), dpi=110, sharex=True, height_ratios=[3, 1]
        )
        _draw_ratios(below, rests)
    else:
        figure, below = pyplot.subplots(figsize=(10, 4.5), dpi=110)
        axes = below
    minutes = [moment.seconds / 60 for moment in moments]
    held = [(moment.held - moment.base) / MB for moment in moments]
    axes.plot(minutes, held, linewidth=0.8, label="process beyond its empty size (kernel)")
    charged = [moment.charged / MB for moment in moments]
    axes.plot(minutes, charged, linewidth=0.8, label="charged in the ledger")
    axes.axhline(budget / MB, color="black", linestyle="--", linewidth=1, label="budget")
    last = moments[0].pid
    for minute, moment in zip(minutes, moments, strict=True):
        if moment.pid != last:
            axes.axvline(minute, color="grey", linestyle=":", linewidth=1)
        last = moment.pid
    below.set_xlabel("minutes")
    axes.set_ylabel("MB")
    axes.set_ylim(bottom=0)
    axes.set_title(title)
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _draw_ratios(axes: Any, rests: Sequence[Rest]) -> None:
    minutes = [rest.seconds / 60 for rest in rests]
    ratios = [rest.ratio for rest in rests]
    axes.plot(minutes, ratios, marker="o", markersize=3, linewidth=0.8)
    for bound in (LOWEST, HIGHEST):
        axes.axhline(bound, color="black", linestyle="--", linewidth=1)
    axes.set_ylim(min(0.8, *ratios), max(1.15, *ratios))
    axes.set_ylabel("held / charged,\nat rest")
