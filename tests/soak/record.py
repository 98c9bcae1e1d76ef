"""Memory of one server replica against its budget over time: sampled from the kernel and the API, drawn as PNG."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from overbook.agent.memory.readings import read_tree
from tests.e2e.process import Overbook

MB = 1e6


@dataclass(frozen=True, slots=True)
class Moment:
    """Seconds since the beginning, and bytes: of the tree by the kernel, of the ledger, of the empty process."""

    seconds: float
    pid: int
    held: int
    charged: int
    base: int


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
        self._began = time.monotonic()
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
            time.monotonic() - self._began, pid, held, int(replica["bytes"]["resident"]), base
        )


def draw(moments: Sequence[Moment], budget: int, title: str, path: Path) -> None:
    """What the process holds beyond its base, and what the ledger says, against the budget."""
    figure, axes = pyplot.subplots(figsize=(10, 4.5), dpi=110)
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
    axes.set_xlabel("minutes")
    axes.set_ylabel("MB")
    axes.set_ylim(bottom=0)
    axes.set_title(title)
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
