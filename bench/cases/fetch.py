"""Models that come from an object store: how fast, with how much memory, and who notices."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import yaml

from bench.artifacts import IRIS_BODY, forest
from bench.constant import constant
from bench.documents import model_document, server_document
from bench.effort import Effort
from bench.findings import Line, Measured, Section, Target, single
from bench.growth import growing
from bench.instance import Instance, is_ready, running, wait_registered
from bench.processes import wait_until
from bench.samples import Samples, ratios
from bench.stage import Stage
from bench.store import FILE, Store, store

_MB: Final = 1_000_000
_LARGE: Final = 1000 * _MB
_SMALL: Final = _MB
# Room for a few: none is loaded just because there is room.
_BUDGET: Final = 8 << 20
_HOT: Final = "hot"
_TREES: Final = 20
_RATE: Final = 50.0
_QUIET_SECONDS: Final = 8.0
_FETCH_RATE: Final = 100 * _MB
_BESIDE: Final = 3
_GONE_SECONDS: Final = 60.0
_ARRIVES_SECONDS: Final = 300.0
_LOOK_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 0.05
_SOME: Final = 20

_AT_RATE: Final = Target(1.25)
_MEMORY: Final = Target(64)
_TOGETHER: Final = Target(1.5)
_TAIL: Final = Target(1.5)
_NONE: Final = Target(0)


@dataclass(slots=True)
class _Found:
    """Seconds, megabytes and requests of all rounds."""

    bare: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    grown: list[float] = field(default_factory=list)
    children: list[float] = field(default_factory=list)
    quiet: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)


def run(stage: Stage, effort: Effort) -> Section:
    large, count = (_LARGE // 5, 100) if effort.quick else (_LARGE, 1000)
    with store(stage.folder("store")) as kept:
        big = kept.put("large", _BESIDE, large)
        many = kept.put("many", count, _SMALL)
        kept.read_once()
        lines = [
            *_one(stage, effort, kept, big),
            *_rates(stage, kept, big, large),
            *_many(stage, effort, kept, many),
        ]
    return Section(
        title="Models from an object store",
        how=(
            f"An S3 server on this machine (`rclone serve s3`). One object of {large // _MB:,} MB: from its apply "
            "until it is ready, so digested and durably published, by turns with `rclone copy` of the same, which is "
            "neither. Memory is the proportional set size of the process of `overbook up`, and of the rclone "
            f"processes that it started. The hot model is a forest of {_TREES} trees that is asked "
            f"{_RATE:.0f} times a second, by turns with nothing else going on and while {_BESIDE} such objects are "
            f"fetched. Then {count:,} models with an object of {_SMALL // _MB} MB each: from `overbook apply -f` "
            "until all are ready, by a new Overbook each time, again by turns with `rclone copy`; once with "
            "`verify: false`, and once with the default, where each has been loaded once before it is ready."
        ),
        lines=tuple(lines),
    )


def _one(stage: Stage, effort: Effort, kept: Store, places: Sequence[str]) -> list[Line]:
    found = _Found()
    with _up(stage, kept) as instance:
        hot = forest(stage.folder("homes") / _HOT, _TREES)
        instance.apply([model_document(_HOT, hot, ["sklearn"], memory=_MB, pinned=True)])
        wait_registered(instance, 1)
        instance.ask(_HOT, IRIS_BODY)
        for _ in range(effort.rounds):
            found.bare.append(kept.bare_copy(places[0]))
            with growing(instance.pid) as growth, _fetching(instance, kept, places[:1]) as began:
                _wait(instance, places[:1])
                found.ours.append(time.perf_counter() - began)
            found.grown.append(growth.grown / _MB)
            found.children.append(growth.children / _MB)
        for _ in range(effort.rounds):
            found.quiet.append(_p99(instance, lambda seconds: seconds > _QUIET_SECONDS))
            with _fetching(instance, kept, places), _watched(instance, places) as over:
                found.beside.append(_p99(instance, lambda _: over.is_set()))
    bare, ours = Samples.of(found.bare), Samples.of(found.ours)
    quiet, beside = Samples.of(found.quiet), Samples.of(found.beside)
    return [
        Line(
            "one object",
            (Measured("rclone copy", bare, "s"), Measured("Overbook", ours, "s")),
            ratios(ours, bare),
            "×",
            _AT_RATE,
        ),
        single("memory meanwhile: the process grows by", Samples.of(found.grown), "MB", _MEMORY),
        single("memory meanwhile: rclone", Samples.of(found.children), "MB"),
        Line(
            "p99 of a hot model",
            (Measured("quiet", quiet, "ms"), Measured("beside fetches", beside, "ms")),
            ratios(beside, quiet),
            "×",
            _TAIL,
        ),
    ]


def _rates(stage: Stage, kept: Store, places: Sequence[str], size: int) -> list[Line]:
    """Rates of fetches that may only be so fast, as shares of that. ``size``: bytes of each."""
    lines = []
    with _up(stage, kept, "--fetch-rate", str(_FETCH_RATE)) as instance:
        for chosen in (places[:1], places):
            with _fetching(instance, kept, chosen) as began:
                _wait(instance, chosen)
                rate = len(chosen) * size / (time.perf_counter() - began)
            what = f"--fetch-rate of {_FETCH_RATE // _MB} MB/s, {len(chosen)} at a time"
            lines.append(single(what, Samples.of([rate / _FETCH_RATE]), "×", Target(1.1)))
    return lines


@contextmanager
def _watched(instance: Instance, places: Sequence[str]) -> Iterator[threading.Event]:
    """Is set when all are ready."""
    over = threading.Event()

    def watch() -> None:
        try:
            wait_until(
                "all are ready",
                lambda: _ready(instance, places),
                seconds=_ARRIVES_SECONDS,
                pause=_LOOK_SECONDS,
            )
        finally:
            over.set()

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        yield over
    watching.result()


def _many(stage: Stage, effort: Effort, kept: Store, places: Sequence[str]) -> list[Line]:
    bare, fetched, tried, again = list[float](), list[float](), list[float](), list[float]()
    asked = list[float]()
    for _ in range(1 if effort.quick else min(3, effort.rounds)):
        for verify, taken in ((False, fetched), (True, tried)):
            bare.append(kept.bare_copy("many"))
            with _up(stage, kept) as instance:
                taken.append(_applied(stage, instance, kept, places, verify=verify))
                if verify:
                    instance.stop()
                    kept.server.forget()
                    began = time.perf_counter()
                    instance.start("--secrets", str(kept.counted))
                    instance.wait_ready()
                    wait_registered(instance, len(places))
                    again.append(time.perf_counter() - began)
                    asked.append(len(kept.server.requests()))
    many = f"{len(places):,} objects"
    return [
        _beside(f"{many}, verify: false", bare[::2], fetched, _TOGETHER),
        _beside(f"{many}, each tried", bare[1::2], tried, None),
        single(f"{many}: a restart until all are ready", Samples.of(again), "s"),
        single(f"{many}: requests to the store at a restart", Samples.of(asked), "", _NONE),
    ]


def _beside(what: str, bare: Sequence[float], ours: Sequence[float], target: Target | None) -> Line:
    theirs, mine = Samples.of(bare), Samples.of(ours)
    contestants = (Measured("rclone copy", theirs, "s"), Measured("Overbook", mine, "s"))
    return Line(what, contestants, ratios(mine, theirs), "×", target)


@contextmanager
def _up(stage: Stage, kept: Store, *arguments: str) -> Iterator[Instance]:
    with running(stage.folder("up"), "--secrets", str(kept.secrets), *arguments) as instance:
        instance.apply([server_document("mlserver", memory=_BUDGET)])
        yield instance


def _applied(
    stage: Stage, instance: Instance, kept: Store, places: Sequence[str], *, verify: bool
) -> float:
    """Seconds from the command until all are ready."""
    file = stage.folder("manifests").with_suffix(".yaml")
    documents = [kept.document(_name(each), each, verify=verify) for each in places]
    file.write_text(yaml.dump_all(documents, Dumper=yaml.CSafeDumper))
    began = time.perf_counter()
    instance.command("apply", "-f", str(file))
    # To ask for all of them all the time would take a good part of the machine.
    _wait(instance, places[:: max(1, len(places) // _SOME)])
    wait_registered(instance, len(places))
    return time.perf_counter() - began


@contextmanager
def _fetching(instance: Instance, kept: Store, places: Sequence[str]) -> Iterator[float]:
    """They are applied when the block begins, which is told; afterwards they go, also from the disk."""
    pattern = f"state/cache/*/{FILE}"
    before = len(list(instance.folder.glob(pattern)))
    began = time.perf_counter()
    instance.apply([kept.document(_name(each), each, verify=False) for each in places])
    yield began
    for each in places:
        instance.control.delete("model", _name(each))
    wait_until(
        "what was fetched is gone",
        lambda: len(list(instance.folder.glob(pattern))) == before,
        seconds=_GONE_SECONDS,
        pause=0.2,
    )


def _ready(instance: Instance, places: Sequence[str]) -> bool:
    return all(is_ready(instance.control.get("model", _name(each))) for each in places)


def _wait(instance: Instance, places: Sequence[str]) -> None:
    for each in places:
        wait_until(
            "all are ready",
            partial(_ready, instance, [each]),
            seconds=_ARRIVES_SECONDS,
            pause=_PAUSE_SECONDS,
        )


def _p99(instance: Instance, until: Callable[[float], bool]) -> float:
    taken = constant(instance.port, _HOT, IRIS_BODY, rate=_RATE, until=until)
    return Samples.of(taken).percentile(99)


def _name(place: str) -> str:
    return place.replace("/", "-")
