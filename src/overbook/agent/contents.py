"""Which contents the core's numbers stand for on one server replica, and where each of them is: assigned, being loaded,
in the inference server. The one holder of that; decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path

from overbook.agent.deaths import CallKind
from overbook.agent.servers.protocol import PreparedModel
from overbook.residency.events import ModelName


class Contents:
    """By model: at most one is being loaded, and at most one in the server; several may be assigned, by generation."""

    def __init__(self) -> None:
        self._assigned: dict[ModelName, dict[int, PreparedModel]] = {}
        self._loading: dict[ModelName, PreparedModel] = {}
        self._loaded: dict[ModelName, PreparedModel] = {}

    @property
    def in_server(self) -> Mapping[ModelName, PreparedModel]:
        return self._loaded

    @property
    def loading(self) -> set[str]:
        """Names of the artifacts that are being loaded."""
        return {prepared.artifact.name for prepared in self._loading.values()}

    @property
    def files(self) -> set[Path]:
        """Artifact folders that the inference server reads now or may still read."""
        return {each.artifact for each in (*self._loading.values(), *self._loaded.values())}

    def assign(self, prepared: PreparedModel) -> None:
        """From now on the core may name it by its model and its generation."""
        self._assigned.setdefault(ModelName(prepared.name), {})[prepared.generation] = prepared

    def find(self, model: ModelName, generation: int) -> PreparedModel | None:
        return self._assigned.get(model, {}).get(generation)

    def keep_only(self, model: ModelName, generations: Set[int | None]) -> None:
        """No others can be loaded any more."""
        known = self._assigned.get(model, {})
        for generation in known.keys() - generations:
            del known[generation]

    def repaired(self, prepared: PreparedModel) -> None:
        """A new copy of one that may still be loaded takes its place."""
        known = self._assigned.get(ModelName(prepared.name), {})
        if prepared.generation in known:
            known[prepared.generation] = prepared

    def begin_load(self, model: ModelName, generation: int) -> PreparedModel:
        """Raises KeyError when no such content is assigned."""
        self._loading[model] = prepared = self._assigned[model][generation]
        return prepared

    def end_load(self, model: ModelName, loaded: PreparedModel | None) -> None:
        """``loaded``: what is in the server now, if the load ended well."""
        self._loading.pop(model, None)
        if loaded is not None:
            self._loaded[model] = loaded

    def left(self, model: ModelName) -> None:
        """It is not in the server any more."""
        self._loaded.pop(model, None)

    def lost(self) -> None:
        """The server's process is gone."""
        self._loading.clear()
        self._loaded.clear()

    def forget(self, model: ModelName) -> None:
        self._assigned.pop(model, None)
        self._loaded.pop(model, None)

    def generation_in(self, model: str, kind: CallKind) -> int | None:
        """Of the content that such a call to the server is about; None when there is none."""
        name = ModelName(model)
        loaded = self._loaded.get(name)
        prepared = self._loading.get(name, loaded) if kind is CallKind.LOAD else loaded
        return None if prepared is None else prepared.generation
