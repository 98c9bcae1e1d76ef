"""What a Seldon Server's podSpec says of memory: all of it that means something without Kubernetes. Pure.

There an agent beside the inference server's container is told the budget by MEMORY_REQUEST, usually as a reference to
that container's memory request, and the overcommit by SELDON_OVERCOMMIT_PERCENTAGE.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from overbook.manifests.problems import Path, Problem, shown
from overbook.manifests.quantities import parse_bytes

OVERCOMMIT: Final = "SELDON_OVERCOMMIT_PERCENTAGE"
MEMORY: Final = "MEMORY_REQUEST"
_PATH: Final[Path] = ("spec", "podSpec")
# Of a Seldon server pod, those in which no inference server runs.
_HELPERS: Final = frozenset({"agent", "rclone"})


@dataclass(frozen=True, slots=True)
class PodMemory:
    """``memory``: bytes of the budget, ``overcommit``: percent; None where the podSpec does not say.

    ``problems``: values that mean nothing.
    """

    memory: int | None = None
    overcommit: int | None = None
    problems: tuple[Problem, ...] = ()


def pod_memory(pod: Mapping[str, object]) -> PodMemory:
    """Reads a podSpec. What is not as Kubernetes would take it says nothing."""
    containers = list(_named(pod.get("containers"), (*_PATH, "containers")))
    problems: list[Problem] = []
    memory = overcommit = None
    requests = {}
    for name, container, path in containers:
        given = _request(container, path, problems)
        if given is not None and name not in _HELPERS:
            requests[name] = given
    for _, container, path in containers:
        for name, variable, where in _named(container.get("env"), (*path, "env")):
            if name == MEMORY:
                memory = memory or _budget(variable, where, requests, problems)
            elif name == OVERCOMMIT:
                overcommit = _percent(variable, where, problems)
    if memory is None:
        memory = next(iter(requests.values()), None)
    return PodMemory(memory, overcommit, tuple(problems))


def _named(value: object, path: Path) -> Iterator[tuple[str, Mapping[str, object], Path]]:
    """Mappings with a name in a list, and where each is."""
    if not isinstance(value, list):
        return
    for index, each in enumerate(value):
        if isinstance(each, Mapping) and isinstance(each.get("name"), str):
            yield each["name"], each, (*path, index)


def _request(container: Mapping[str, object], path: Path, problems: list[Problem]) -> int | None:
    """Its memory request; as in Kubernetes its limit where it has none."""
    resources = container.get("resources")
    for kind in ("requests", "limits"):
        section = resources.get(kind) if isinstance(resources, Mapping) else None
        memory = section.get("memory") if isinstance(section, Mapping) else None
        if memory is not None:
            return _bytes(memory, (*path, "resources", kind, "memory"), problems)
    return None


def _budget(
    variable: Mapping[str, object],
    path: Path,
    requests: Mapping[str, int],
    problems: list[Problem],
) -> int | None:
    source = variable.get("valueFrom")
    field = source.get("resourceFieldRef") if isinstance(source, Mapping) else None
    if isinstance(field, Mapping):
        named = field.get("containerName")
        return requests.get(named) if isinstance(named, str) else None
    value = variable.get("value")
    return None if value is None else _bytes(value, (*path, "value"), problems)


def _bytes(value: object, path: Path, problems: list[Problem]) -> int | None:
    try:
        if not isinstance(value, str | int | float):
            raise ValueError(f"{shown(value)} is not a quantity; expected bytes such as 1.5Gi")
        found = parse_bytes(value)
        if not found:
            raise ValueError(f"{shown(value)} is no memory at all; expected more than 0 bytes")
    except ValueError as error:
        problems.append(Problem(str(error), path))
        return None
    return found


def _percent(variable: Mapping[str, object], path: Path, problems: list[Problem]) -> int | None:
    value = variable.get("value")
    text = str(value).strip() if isinstance(value, str | int) else ""
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    if value is not None:
        told = f"{shown(value)} is not a percentage; expected a whole number such as 10"
        problems.append(Problem(told, (*path, "value")))
    return None
