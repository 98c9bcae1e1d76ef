"""What the agent knows of each model that it holds: which contents the core's numbers stand for, where each of them is
(assigned, being loaded, in the inference server), and what was seen of them. One record per model, forgotten at once.

The one holder of that; decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from overbook.agent.deaths import CallKind
from overbook.agent.servers.protocol import Description, PreparedModel
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName


@dataclass(slots=True)
class _Model:
    """``assigned``: contents that may be loaded, by generation. ``checked``: the local copy that was looked at since a
    load ended well. ``described``: what the server said of a content. ``load_ended``: when its last load did, and
    ``load_seconds``: what that took.
    """

    assigned: dict[int, PreparedModel] = field(default_factory=dict)
    loading: PreparedModel | None = None
    loaded: PreparedModel | None = None
    checked: Path | None = None
    described: tuple[PreparedModel, Description] | None = None
    load_ended: float = 0.0
    load_seconds: float = 0.0


class Contents:
    """Of all models of one server replica. ``entries``: what the core knows of them."""

    def __init__(self, entries: Mapping[ModelName, Entry]) -> None:
        self._entries = entries
        self._models: dict[ModelName, _Model] = {}
        # Those that the server loads or holds: they are few, and asked for often.
        self._here: dict[ModelName, _Model] = {}

    @property
    def in_server(self) -> Mapping[ModelName, PreparedModel]:
        """Of all models at this moment."""
        return {
            model: known.loaded for model, known in self._here.items() if known.loaded is not None
        }

    def loaded(self, model: ModelName) -> PreparedModel | None:
        """What the server holds of it."""
        known = self._here.get(model)
        return None if known is None else known.loaded

    @property
    def loading(self) -> set[str]:
        """Names of the artifacts that are being loaded."""
        return {each.loading.artifact.name for each in self._here.values() if each.loading}

    @property
    def files(self) -> set[Path]:
        """Artifact folders that the inference server reads now or may still read."""
        both = ((each.loading, each.loaded) for each in self._here.values())
        return {prepared.artifact for pair in both for prepared in pair if prepared is not None}

    # -- what may be loaded

    def assign(self, prepared: PreparedModel) -> None:
        """From now on the core may name it by its model and its generation."""
        known = self._models.setdefault(ModelName(prepared.name), _Model())
        known.assigned[prepared.generation] = prepared

    def find(self, model: ModelName, generation: int) -> PreparedModel | None:
        known = self._models.get(model)
        return None if known is None else known.assigned.get(generation)

    def newest(self, model: ModelName) -> PreparedModel | None:
        """None also between a deletion and what is applied after it: what was deleted is nobody's content."""
        entry = self._entries.get(model)
        if entry is None or entry.removed:
            return None
        return self.find(model, entry.generation)

    def drop_older(self, model: ModelName) -> None:
        """Only the newest and the one that was loaded last can still be loaded."""
        entry = self._entries.get(model)
        if entry is not None:
            good = None if entry.good is None else entry.good.generation
            assigned = self._models[model].assigned
            for generation in assigned.keys() - {entry.generation, good}:
                del assigned[generation]

    def is_checked(self, prepared: PreparedModel) -> bool:
        """Whether this local copy was looked at since the model was loaded."""
        known = self._models.get(ModelName(prepared.name))
        return known is not None and known.checked == prepared.artifact

    def checked(self, prepared: PreparedModel, repaired: PreparedModel | None) -> None:
        """The local copy was looked at. ``repaired``: a new one takes its place, where it may still be loaded."""
        known = self._models.get(ModelName(prepared.name))
        if known is None:
            return
        known.checked = (repaired or prepared).artifact
        if repaired is not None and repaired.generation in known.assigned:
            known.assigned[repaired.generation] = repaired

    # -- where it is

    def begin_load(self, model: ModelName, generation: int) -> PreparedModel:
        """Raises KeyError when no such content is assigned."""
        known = self._models[model]
        known.loading = prepared = known.assigned[generation]
        self._level(model, known)
        return prepared

    def end_load(self, model: ModelName, loaded: PreparedModel | None) -> None:
        """``loaded``: what is in the server now, if the load ended well."""
        known = self._models[model]
        known.loading = None
        if loaded is not None:
            known.loaded, known.checked = loaded, None
        self._level(model, known)

    def left(self, model: ModelName) -> None:
        """It is not in the server any more."""
        known = self._models.get(model)
        if known is not None:
            known.loaded = None
            self._level(model, known)

    def lost(self) -> None:
        """The server's process is gone."""
        for known in self._here.values():
            known.loading = known.loaded = None
        self._here.clear()

    def forget(self, model: ModelName) -> None:
        self._models.pop(model, None)
        self._here.pop(model, None)

    def generation_in(self, model: str, kind: CallKind) -> int | None:
        """Of the content that such a call to the server is about; None when there is none."""
        known = self._here.get(ModelName(model))
        if known is None:
            return None
        prepared = known.loading or known.loaded if kind is CallKind.LOAD else known.loaded
        return None if prepared is None else prepared.generation

    def _level(self, model: ModelName, known: _Model) -> None:
        if known.loading is None and known.loaded is None:
            self._here.pop(model, None)
        else:
            self._here[model] = known

    # -- what was seen of it

    def load_took(self, model: ModelName, ended: float, seconds: float) -> None:
        known = self._models[model]
        known.load_ended, known.load_seconds = ended, seconds

    def load_since(self, model: ModelName, arrived: float) -> float:
        """Seconds of its last load, if that ended after ``arrived``; else 0."""
        known = self._models.get(model)
        return known.load_seconds if known is not None and known.load_ended >= arrived else 0.0

    def describe(self, prepared: PreparedModel, found: Description) -> None:
        """What the server says of a content."""
        self._models[ModelName(prepared.name)].described = (prepared, found)

    def description(self, prepared: PreparedModel) -> Description | None:
        """What it said of this very content; None when it did not."""
        known = self._models.get(ModelName(prepared.name))
        if known is None or known.described is None or known.described[0] != prepared:
            return None
        return known.described[1]
