"""Checks one object against its kind and group, and says everything that is wrong with it.

Takes plain JSON values and knows no lines of files; `parse` adds those. `validate_object` is what
the control API calls on each document.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from overbook.manifests import fields
from overbook.manifests.names import MAX_NAME, is_kubernetes_name
from overbook.manifests.pods import PodMemory
from overbook.manifests.problems import ManifestError, Path, Problem, field_name, shown
from overbook.manifests.quantities import amount
from overbook.manifests.specs import (
    ATTACHABLE,
    GROUP,
    SELDON_GROUP,
    Manifest,
    ModelManifest,
    ServerManifest,
    ServerSpec,
    has_scheme,
)
from overbook.runtimes.server_kinds import SERVER_KINDS

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_MANIFESTS: Final[dict[str, type[ModelManifest] | type[ServerManifest]]] = {
    "Model": ModelManifest,
    "Server": ServerManifest,
}
_EXPECTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
# Fields in one place that are told of one by one: to find what each may have been meant to be takes time.
_MOST_UNKNOWN: Final = 5
# Halves of surrogate pairs: JSON can say them, and no text that is stored or sent can.
_HALF: Final = re.compile("[\ud800-\udfff]")
ENVIRONMENT_SOURCES: Final = ("packages", "requirements", "archive")
_NEEDED: Final = {
    "storageUri": "a path or URI of the model's artifact",
    "serverConfig": "the runtime to run, such as mlserver",
    "metadata.name": "the name clients will use",
    "name": "what it is called",
    "rest": "host:port where the inference server answers REST",
    "grpc": "host:port where the inference server answers gRPC",
    "value": "text, in quotes where it looks like a number",
    "path": "the folder that the inference server reads its models from",
}


@dataclass(frozen=True, slots=True)
class Validated:
    """A manifest that may be applied, and what its author should know about it."""

    manifest: Manifest
    warnings: tuple[Problem, ...] = ()


def validate_object(document: object, *, allow_relative: bool = False) -> Validated:
    """Checks one document. Raises ManifestError with all problems.

    A relative storageUri is refused unless allowed: only who read the file can resolve it.
    """
    if not isinstance(document, Mapping):
        raise ManifestError(
            [Problem(f"{shown(document)} is not a manifest; expected a mapping with kind and spec")]
        )
    group, kind = _group_and_kind(document)
    errors: list[Problem] = []
    warnings: list[Problem] = []
    unknown = errors if group == GROUP else warnings
    kept: dict[str, object] = {"apiVersion": group, "kind": kind}

    outer = set(document) - fields.TOP_LEVEL - fields.TOP_LEVEL_DROPPED
    unknown.extend(_unknown(outer, fields.TOP_LEVEL, (), group))
    metadata = document.get("metadata")
    if isinstance(metadata, Mapping):
        extra = set(metadata) - fields.METADATA - fields.METADATA_DROPPED
        unknown.extend(_unknown(extra, fields.METADATA, ("metadata",), group))
        kept["metadata"] = _given(metadata, fields.METADATA)
    else:
        errors.append(_not_a_mapping("metadata", metadata))
    spec = document.get("spec")
    if isinstance(spec, Mapping):
        known = fields.SPEC[group, kind]
        names = known.active | known.inert
        unknown.extend(_unknown(set(spec) - names, known.active, ("spec",), group))
        given = _given(spec, names)
        warnings.extend(
            Problem("has no effect in Overbook", ("spec", name))
            for name in sorted(known.inert & set(given))
        )
        kept["spec"] = given
        if halves := list(_halves(given)):
            raise ManifestError([*errors, *halves])
    else:
        errors.append(_not_a_mapping("spec", spec))

    manifest = _build(kind, kept, errors)
    if manifest is not None:
        errors.extend(_consistency(manifest, allow_relative=allow_relative))
    if manifest is None or errors:
        raise ManifestError(errors)
    if isinstance(manifest, ServerManifest) and manifest.spec.pod_spec is not None:
        warnings.append(Problem(_of_pod(manifest.spec.pod), ("spec", "podSpec")))
    return Validated(manifest, tuple(warnings))


def _group_and_kind(document: Mapping[object, object]) -> tuple[str, str]:
    problems = []
    group = document.get("apiVersion")
    if group not in (GROUP, SELDON_GROUP):
        what = "is required" if group is None else f"{shown(group)} is not known"
        problems.append(Problem(f"{what}; expected {GROUP} or {SELDON_GROUP}", ("apiVersion",)))
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in _MANIFESTS:
        what = "is required" if kind is None else f"{shown(kind)} is not known"
        problems.append(Problem(f"{what}; expected Model or Server", ("kind",)))
    if problems:
        raise ManifestError(problems)
    return str(group), str(kind)


def _given(values: Mapping[object, object], names: frozenset[str]) -> dict[str, object]:
    """Known fields only; null is the same as absent, as in Kubernetes."""
    return {
        name: value
        for name, value in values.items()
        if isinstance(name, str) and name in names and value is not None
    }


def _unknown(extra: set[object], known: Iterable[str], where: Path, group: str) -> list[Problem]:
    problems = []
    names = sorted(str(each) for each in extra)
    for name in names[:_MOST_UNKNOWN]:
        close = difflib.get_close_matches(name, list(known), n=1)
        hint = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(known))}"
        if group == SELDON_GROUP:
            hint = f"; ignored{f' (did you mean {close[0]}?)' if close else ''}"
            if where == ("spec",) and any(
                name in fields.SPEC[GROUP, kind].active for kind in _MANIFESTS
            ):
                hint = f"; ignored, it is a field of {GROUP}"
        problems.append(Problem(f"unknown field in {group}{hint}", (*where, name)))
    if left := len(names) - len(problems):
        problems.append(Problem(f"{left} more unknown fields in {group}", where))
    return problems


def _halves(spec: Mapping[str, object]) -> Iterator[Problem]:
    """Each text of a spec that is not Unicode, wherever it is."""
    waiting: list[tuple[Path, object]] = [(("spec",), spec)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [((*path, str(key)), each) for key, each in value.items()]
            texts = [key for key in value if isinstance(key, str)]
        elif isinstance(value, list):
            waiting += [((*path, index), each) for index, each in enumerate(value)]
            continue
        else:
            texts = [value] if isinstance(value, str) else []
        for text in texts:
            if _HALF.search(text):
                told = f"{shown(text)} has half of a surrogate pair in it; expected text in Unicode"
                yield Problem(told, path)


def _not_a_mapping(field: str, value: object) -> Problem:
    if value is None:
        return Problem("is required; expected a mapping", (field,))
    return Problem(f"{shown(value)} is not a mapping", (field,))


def _build(kind: str, kept: Mapping[str, object], errors: list[Problem]) -> Manifest | None:
    try:
        return _MANIFESTS[kind].model_validate(kept)
    except ValidationError as error:
        seen: set[Path] = set()
        for detail in error.errors(include_url=False):
            problem = _problem(detail)
            missing_section = problem.path in {("metadata",), ("spec",)}
            if problem.path not in seen and not missing_section:
                errors.append(problem)
            seen.add(problem.path)
        return None


def _problem(detail: ErrorDetails) -> Problem:
    # Pydantic adds the member of a union that it tried; those are no fields.
    path: Path = tuple(
        step
        for step in detail["loc"]
        if step not in ("str", "constrained-str", "int", "float", "[key]")
    )
    value, code = detail["input"], detail["type"]
    context = detail.get("ctx", {})
    if code == "value_error":
        return Problem(str(context["error"]), path)
    if code == "missing":
        needed = _NEEDED.get(field_name(path)) or _NEEDED.get(str(path[-1]), "a value")
        return Problem(f"is required; expected {needed}", path)
    if code == "extra_forbidden":
        return Problem(f"unknown field in {field_name(path[:-1])}", path)
    if code in ("greater_than_equal", "less_than_equal"):
        bound = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
        return Problem(f"{shown(value)} is out of range; expected {bound}", path)
    if code == "string_too_long":
        expected = f"at most {context['max_length']}"
        return Problem(f"{shown(value)} has {len(value)} characters; expected {expected}", path)
    if path and path[-1] == "memory":
        return Problem(
            f"{shown(value)} is not a quantity; expected bytes such as 100Ki, 1.5Gi or 2e9", path
        )
    expected = _EXPECTED.get(code, detail["msg"])
    hint = " (put it in quotes)" if code == "string_type" and isinstance(value, int | float) else ""
    return Problem(f"{shown(value)} is not {expected}{hint}", path)


def _consistency(manifest: Manifest, *, allow_relative: bool) -> list[Problem]:
    """What takes more than one field, or the caller's point of view, to judge."""
    if not isinstance(manifest, ModelManifest):
        own = _own_environment(manifest.spec, allow_relative=allow_relative)
        of_kind = _not_there(manifest.spec)
        return [
            *_runnable(manifest.spec),
            *_attachable(manifest.spec),
            *manifest.spec.pod.problems,
            *own,
            *of_kind,
        ]
    problems = _naming(manifest)
    spec = manifest.spec
    names = [each.name for each in spec.parameters]
    for index, name in enumerate(names):
        if name in names[:index]:
            told = f"{shown(name)} appears twice; expected each name once"
            problems.append(Problem(told, ("spec", "parameters", index, "name")))
    if spec.min_replicas is not None and spec.min_replicas > spec.replicas:
        problems.append(
            Problem(
                f"{spec.min_replicas} is more than replicas; expected at most {spec.replicas}",
                ("spec", "minReplicas"),
            )
        )
    uri = spec.storage_uri
    if not allow_relative and not uri.startswith("/") and not has_scheme(uri):
        problems.append(
            Problem(
                f"{shown(uri)} is relative; expected an absolute path or a URI with a scheme",
                ("spec", "storageUri"),
            )
        )
    return problems


def _naming(manifest: ModelManifest) -> list[Problem]:
    """What else a name must be, beside one that there can be."""
    problems = []
    if manifest.api_version == SELDON_GROUP and not is_kubernetes_name(manifest.metadata.name):
        problems.append(
            Problem(
                f"{shown(manifest.metadata.name)} is not a name in Kubernetes; expected at most {MAX_NAME} lower-case "
                f"letters, digits, '-' and '.', or apiVersion {GROUP}, where models are called as clients call them",
                ("metadata", "name"),
            )
        )
    wire = manifest.spec.model_name
    if wire is not None and wire != manifest.metadata.name:
        problems.append(
            Problem(
                "there is one name for each model here, the one that clients use; expected metadata.name: "
                f"{wire} with apiVersion {GROUP}, and no modelName",
                ("spec", "modelName"),
            )
        )
    return problems


def _of_pod(pod: PodMemory) -> str:
    taken = [
        *([] if pod.memory is None else [f"memory {amount(pod.memory)}"]),
        *([] if pod.overcommit is None else [f"overcommitPercentage {pod.overcommit}"]),
    ]
    if not taken:
        return "has no effect in Overbook"
    return f"Overbook takes {' and '.join(taken)} from it, and nothing else"


def _own_environment(spec: ServerSpec, *, allow_relative: bool) -> list[Problem]:
    """One source of packages, on this side of an address, and files where the agent finds them."""
    own = spec.environment
    if own is None:
        return []
    where: Path = ("spec", "environment")
    if spec.address is not None:
        told = "has no effect with address: that server has packages of its own; expected one of the two"
        return [Problem(told, where)]
    given = {name: getattr(own, name) for name in ENVIRONMENT_SOURCES}
    named = [name for name, value in given.items() if value]
    if len(named) != 1:
        what = f"has {' and '.join(named)}" if named else "names no packages"
        return [Problem(f"{what}; expected one of {', '.join(ENVIRONMENT_SOURCES)}", where)]
    file = own.requirements or own.archive
    if file is None or allow_relative or file.startswith("/"):
        return []
    return [Problem(f"{shown(file)} is relative; expected an absolute path", (*where, named[0]))]


def _runnable(spec: ServerSpec) -> list[Problem]:
    """A kind of server that nobody here can run."""
    if spec.server_config in SERVER_KINDS or spec.address is not None:
        return []
    known = " or ".join(SERVER_KINDS)
    told = f"{shown(spec.server_config)} is no server that Overbook runs; expected {known}"
    return [Problem(told, ("spec", "serverConfig"))]


def _not_there(spec: ServerSpec) -> list[Problem]:
    """What is allowed although that kind of server has no such call."""
    kind = SERVER_KINDS.get(spec.server_config)
    if kind is None:
        return []
    return [
        Problem(
            f"{shown(word)} is a call that {spec.server_config} does not have; expected "
            f"{' or '.join(kind.allowable)}, or leave it out",
            ("spec", "allow", index),
        )
        for index, word in enumerate(spec.allow)
        if word not in kind.allowable
    ]


def _attachable(spec: ServerSpec) -> list[Problem]:
    """What a Server with an address must say, and what it must not."""
    if spec.address is None:
        if spec.model_repository is None:
            return []
        told = "has an effect with address only; expected both or neither"
        return [Problem(told, ("spec", "modelRepository"))]
    found: list[tuple[str, str]] = []
    if spec.server_config not in ATTACHABLE:
        known = " or ".join(ATTACHABLE)
        found.append(
            ("serverConfig", f"{shown(spec.server_config)} cannot be attached; expected {known}")
        )
    if spec.address.rest == spec.address.grpc:
        found.append(("address", f"rest and grpc are both {spec.address.rest}; expected two ports"))
    if spec.model_repository is None:
        needed = "expected path, the folder that the inference server reads its models from"
        found.append(("modelRepository", f"is required with address; {needed}"))
    if spec.memory is None:
        needed = "expected how many bytes models may fill there, such as 2Gi"
        found.append(("memory", f"is required with address; {needed}"))
    if spec.replicas > 1:
        found.append(
            ("replicas", f"{spec.replicas} with one address; expected 1, or a Server for each")
        )
    return [Problem(text, ("spec", name)) for name, text in found]
