"""Fleets: an `overbook up` with models, made when a benchmark first asks and shared by those that follow."""

from __future__ import annotations

import contextlib
import tempfile
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.artifacts import IRIS_BODY, forests, small_models
from bench.errors import BenchFailed
from bench.instance import Instance, running, wait_registered
from bench.processes import wait_until
from overbook.client.http import JsonObject

# What each small model declares; a budget of N of them holds exactly N.
MODEL_BYTES: Final = 2**20
_FILL_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """``hot`` of the ``registered`` models fit in memory at the same time.

    ``trees``: they are forests of so many trees, which take some milliseconds to answer; 0: the smallest there are.
    """

    registered: int
    hot: int
    trees: int = 0


class Fleet:
    """A running Overbook with small models, all that fit of them hot."""

    def __init__(self, instance: Instance, plan: FleetPlan, homes: dict[str, Path]) -> None:
        self.instance = instance
        self.plan = plan
        self.homes = homes
        self._used: OrderedDict[str, None] = OrderedDict.fromkeys(homes)

    def ask(self, model: str) -> float:
        """Milliseconds of one inference over REST."""
        self._used.move_to_end(model)
        return self.instance.ask(model, IRIS_BODY)

    def cold(self, among: Collection[str] | None = None) -> str:
        """Of the models (of these) that are not in memory, the one that was asked for the longest time ago.

        Raises BenchFailed when all are in memory.
        """
        for model in self._used:
            if among is not None and model not in among:
                continue
            if self.instance.state_of(model) == "cold":
                return model
        raise BenchFailed("every model is in memory; expected a cold one")

    def newest(self) -> str:
        return next(reversed(self._used))

    def fill(self) -> None:
        """Make as many models hot as fit."""
        models = list(self.homes)[-self.plan.hot :] if self.plan.hot else []
        for model in models:
            self._used.move_to_end(model)
        self.instance.ask_all(models, IRIS_BODY)
        # Where many more are cold, room for one is kept free.
        wait_until(
            f"{self.plan.hot} models are resident",
            lambda: self.plan.hot - 1 <= self.instance.resident_models() <= self.plan.hot,
            seconds=_FILL_SECONDS,
            pause=0.1,
        )


class Stage:
    """Use as a context manager; everything ends with it."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._fleets: dict[FleetPlan, Fleet] = {}
        self._folder = Path()

    def __enter__(self) -> Stage:
        # Unix sockets lie below: a short path.
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="ob-b-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def folder(self, name: str) -> Path:
        """A new folder's path; nothing is there yet."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder)) / name

    def fleet(self, plan: FleetPlan) -> Fleet:
        """The fleet of that plan, running and filled."""
        if plan not in self._fleets:
            self._fleets[plan] = self._stack.enter_context(self.running(plan))
        return self._fleets[plan]

    def fleets(self) -> list[Fleet]:
        return list(self._fleets.values())

    def adopt(self, fleet: Fleet) -> None:
        """A fleet that a benchmark started itself, for those that follow; it ends with the stage."""
        self._fleets[fleet.plan] = fleet
        self._stack.callback(fleet.instance.stop)

    @contextlib.contextmanager
    def running(self, plan: FleetPlan) -> Iterator[Fleet]:
        """A fleet that nobody shares, and that ends with the block."""
        with running(self.folder("up")) as instance:
            folder = self.folder("artifacts")
            if plan.trees:
                homes = {home.name: home for home in forests(folder, plan.registered, plan.trees)}
            else:
                homes = models(folder, plan.registered)
            instance.apply(manifests(plan, homes))
            wait_registered(instance, plan.registered)
            fleet = Fleet(instance, plan, homes)
            fleet.fill()
            yield fleet


def models(folder: Path, count: int) -> dict[str, Path]:
    """Artifacts by the names of their models."""
    return {home.name: home for home in small_models(folder, count)} if count else {}


def manifests(plan: FleetPlan, homes: dict[str, Path]) -> list[JsonObject]:
    """The server and the models of a fleet."""
    server: JsonObject = {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": "Server",
        "metadata": {"name": "mlserver"},
        "spec": {
            "serverConfig": "mlserver",
            "memory": max(1, plan.hot) * MODEL_BYTES,
            "overcommitPercentage": 1_000_000,
        },
    }
    return [server, *(model_manifest(name, home) for name, home in homes.items())]


def model_manifest(name: str, home: Path) -> JsonObject:
    return {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name},
        "spec": {"storageUri": str(home), "requirements": ["sklearn"], "memory": MODEL_BYTES},
    }
