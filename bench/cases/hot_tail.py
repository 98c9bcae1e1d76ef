"""What hot models notice while large ones load without pause on the same server."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.artifacts import IRIS_BODY, forest
from bench.documents import model_document, server_document
from bench.effort import Effort
from bench.findings import Line, Measured, Section, Target
from bench.instance import Instance, running, wait_registered
from bench.large import FRAMEWORKS, Large, large_model
from bench.loading import load_time, loading_without_pause
from bench.samples import Samples, ratios
from bench.stage import Stage
from bench.wrk import Load, run_wrk

_MEGABYTES: Final = 100
_TAIL: Final = Target(2.5)
_SLOWER: Final = Target(1.3)
_SECONDS: Final = 6
_TREES: Final = 20
_HOT: Final = "hot"
_PLAIN: Final = {
    "sklearn": ("mlserver_sklearn.SKLearnModel", "model.joblib"),
    "lightgbm": ("mlserver_lightgbm.LightGBMModel", "model.bst"),
    "xgboost": ("mlserver_xgboost.XGBoostModel", "model.ubj"),
}
_LOADS: Final = 5
_EVICT_SECONDS: Final = 30.0
_REST_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class _Turn:
    """Milliseconds: p99 of the hot model, and of each load that was made meanwhile."""

    p99: float
    loads: tuple[float, ...]


def run(stage: Stage, effort: Effort) -> Section:
    lines: list[Line] = []
    size = 20 if effort.quick else _MEGABYTES
    for framework in FRAMEWORKS:
        large = large_model(framework, stage.folder("large") / framework, size)
        with running(stage.folder("up")) as instance:
            _apply(instance, large, stage.folder("homes"))
            lines += _lines(framework, large, instance, effort)
    return Section(
        title="The tail of hot models while large ones load",
        how=(
            f"One client asks a hot forest of {_TREES} trees without pause; meanwhile two models of about "
            f"{size} MB, of which one fits, are asked for by turns, so that one of them loads at any "
            "time on the same MLServer. Quiet and loading take turns. The plain load is MLServer's own: on its "
            "event loop, where nothing else happens meanwhile."
        ),
        lines=tuple(lines),
    )


def _apply(instance: Instance, large: Large, homes: Path) -> None:
    """Two copies of the large model, and one that loads as MLServer does it by itself."""
    memory = int(large.megabytes * 1.5e6) + 40_000_000
    hot = forest(homes / _HOT, _TREES)
    documents = [
        server_document("mlserver", memory=int(memory * 1.2), extras=[large.framework]),
        model_document(_HOT, hot, ["sklearn"], memory=1_000_000, pinned=True),
    ]
    for number in range(2):
        home = homes / f"big{number}"
        shutil.copytree(large.home, home)
        documents.append(model_document(home.name, home, [large.framework], memory=memory))
    if large.framework in _PLAIN:
        home = homes / "plain"
        shutil.copytree(large.home, home)
        implementation, file = _PLAIN[large.framework]
        settings = {
            "implementation": implementation,
            "parameters": {"uri": f"./{file}", "extra": {"overbook_load_on_loop": True}},
        }
        (home / "model-settings.json").write_text(json.dumps(settings))
        documents.append(model_document(home.name, home, [large.framework], memory=memory))
    instance.apply(documents)
    wait_registered(instance, len(documents) - 1)
    instance.ask(_HOT, IRIS_BODY)


def _lines(framework: str, large: Large, instance: Instance, effort: Effort) -> list[Line]:
    quiet: list[float] = []
    loading: list[_Turn] = []
    for _ in range(effort.rounds):
        quiet.append(_p99(instance))
        loading.append(_while_loading(instance, large))
    calm, busy = Samples.of(quiet), Samples.of([turn.p99 for turn in loading])
    lines = [
        Line(
            f"{framework}: p99 of the hot model",
            (Measured("quiet", calm, "ms"), Measured("while loading", busy, "ms")),
            ratios(busy, calm),
            "×",
            _TAIL,
        )
    ]
    if framework in _PLAIN:
        plain, ours = _alone(instance, large, ("plain",)), _alone(instance, large, ("big0", "big1"))
        lines.append(
            Line(
                f"{framework}: a load of {large.megabytes:.0f} MB, nothing else going on",
                (Measured("plain", plain, "ms"), Measured("in a thread", ours, "ms")),
                Samples.of([ours.median / plain.median]),
                "×",
                _SLOWER,
            )
        )
    return lines


def _p99(instance: Instance) -> float:
    load = Load(json.dumps(IRIS_BODY), _HOT)
    return run_wrk(instance.port, load, connections=1, seconds=_SECONDS).p99 / 1000


def _while_loading(instance: Instance, large: Large) -> _Turn:
    with loading_without_pause(instance, ("big0", "big1"), large.body) as taken:
        p99 = _p99(instance)
    return _Turn(p99, tuple(taken))


def _alone(instance: Instance, large: Large, names: tuple[str, ...]) -> Samples:
    """Loads with nothing else going on; the first, of an empty server, is not counted."""
    taken = []
    for turn in range(_LOADS + 1):
        name = names[turn % len(names)]
        # Also the first time: both of the large ones may fit, once it is known what they take.
        instance.control.act("evict", name, timeout=_EVICT_SECONDS)
        time.sleep(_REST_SECONDS)
        taken.append(load_time(instance, name, large.body))
    return Samples.of(taken[1:])
