"""Whatever is written, in YAML, in JSON or in neither, is a manifest or is refused: in lines that can be shown and
sent, and with nothing raised but the one error for that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any, Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from overbook.manifests.parse import Source, parse_sources
from overbook.manifests.problems import Json, ManifestError, Problem
from overbook.manifests.specs import GROUP, SELDON_GROUP, Manifest
from overbook.manifests.validate import validate_object

# A problem says of what it was given no more than a few lines of a terminal show.
_LONGEST: Final = 2_000
_ODD_TEXT: Final = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "\0",
            "\ud800",
            "\U0001f600",
            "\x1b[2J",
            "\n",
            "\u2028",
            "../x",
            "a" * 5_000,
            "1e999",
        ]
    ),
    st.text(max_size=8),
    st.text(st.characters(), max_size=4),
)
_NUMBERS: Final = st.one_of(
    st.integers(),
    st.integers(min_value=10**300, max_value=10**310),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([2**31, -(2**31), 2**63, 2**64]),
)
_ANY: Final = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _ODD_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_ODD_TEXT, inner, max_size=3),
    max_leaves=6,
)

_MODEL: Final[Json] = {
    "apiVersion": GROUP,
    "kind": "Model",
    "metadata": {"name": "iris", "namespace": "n", "labels": {"a": "b"}, "annotations": {"c": "d"}},
    "spec": {
        "storageUri": "s3://bucket/iris",
        "secretName": "minio",
        "artifactVersion": 3,
        "requirements": ["sklearn", "scikit-learn==1.6.*"],
        "memory": "1.5Gi",
        "replicas": 2,
        "minReplicas": 1,
        "server": "mlserver",
        "parameters": [{"name": "threshold", "value": "0.5"}],
        "activationTimeout": "90s",
        "pinned": True,
        "priority": 4,
        "keepAlive": "1h30m",
        "verify": False,
        "needs": ["wine"],
        "refresh": "10m",
    },
}
_SERVER: Final[Json] = {
    "apiVersion": GROUP,
    "kind": "Server",
    "metadata": {"name": "mlserver"},
    "spec": {
        "serverConfig": "mlserver",
        "replicas": 1,
        "extraCapabilities": ["gpu"],
        "capabilities": ["sklearn"],
        "memory": 2e9,
        "overcommitPercentage": 20,
        "allowOversizedMemory": False,
        "evictionPolicy": "lru",
        "environment": {"packages": ["scikit-learn==1.6.1"]},
        "allow": [],
        "denyPickle": True,
    },
}
_ATTACHED: Final[Json] = {
    "apiVersion": GROUP,
    "kind": "Server",
    "metadata": {"name": "triton"},
    "spec": {
        "serverConfig": "triton",
        "memory": "2Gi",
        "address": {"rest": "127.0.0.1:8000", "grpc": "[::1]:8001"},
        "modelRepository": {"path": "/models", "serverPath": "/repository"},
    },
}
_POD: Final[Json] = {
    "apiVersion": SELDON_GROUP,
    "kind": "Server",
    "metadata": {"name": "seldon"},
    "spec": {
        "serverConfig": "mlserver",
        "imageOverrides": {"x": {"y": [1]}},
        "podSpec": {
            "containers": [
                {
                    "name": "agent",
                    "env": [
                        {"name": "SELDON_OVERCOMMIT_PERCENTAGE", "value": "10"},
                        {
                            "name": "MEMORY_REQUEST",
                            "valueFrom": {"resourceFieldRef": {"containerName": "mlserver"}},
                        },
                    ],
                },
                {"name": "mlserver", "resources": {"requests": {"memory": "1Gi"}}},
            ]
        },
    },
}
_WHOLE: Final = (_MODEL, _SERVER, _ATTACHED, _POD)

# What YAML is made of, and what breaks it.
_TOKENS: Final = st.sampled_from(
    [
        *("a", "b: ", "- ", ": ", "? ", "\n", "\n  ", "\n    ", "\t", " ", ", ", "#", "# x\n"),
        *(
            "{",
            "}",
            "[",
            "]",
            "&a ",
            "*a",
            "<<: ",
            "<<: *a",
            "<<: [*a, *a]",
            "!!str ",
            "!!int ",
            "!x ",
        ),
        *(
            "---\n",
            "...\n",
            "%YAML 1.1\n",
            "%TAG ! tag:x,2000:\n",
            "'",
            '"',
            '"\\ud800"',
            '"\\x00"',
            "\\",
        ),
        *("|\n", ">-\n", "~", "null", "0x1", "0o7", "1e999", "-.5", ".", "+", "true", "2020-01-01"),
        *("\ufeff", "\x85", "\u2028", "\0", "\x1b", "\U0001f600", "é", "9" * 500),
        *(
            "apiVersion: overbook.dev/v1alpha1\n",
            "kind: Model\n",
            "metadata: {name: iris}\n",
            "items: ",
        ),
        *("spec: {storageUri: /m}\n", "kind: List\n", "name: iris\n"),
    ]
)
_YAML: Final = st.lists(_TOKENS, max_size=25).map("".join)


def spots(value: Json, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where something is in a document: everywhere that another value may be put."""
    yield path
    items: list[tuple[str | int, Json]] = []
    if isinstance(value, dict):
        items = [*value.items()]
    elif isinstance(value, list):
        items = [*enumerate(value)]
    for step, each in items:
        yield from spots(each, (*path, step))


def changed(document: Json, path: tuple[str | int, ...], value: Any) -> Any:
    """The document with that value at the path."""
    if not path:
        return value
    changing: Any = copy(document)
    changing[path[0]] = changed(changing[path[0]], path[1:], value)
    return changing


@st.composite
def spoilt(draw: st.DrawFn) -> Any:
    """A manifest in which some values are others, or are missing."""
    document: Any = draw(st.sampled_from(_WHOLE))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([*spots(document)]))
        document = changed(document, path, draw(_ANY))
    return document


def can_be_told(problems: Sequence[Problem]) -> None:
    for each in problems:
        line = str(each)
        assert len(line.splitlines()) == 1
        assert len(line) < _LONGEST
        line.encode()


def can_be_kept(manifest: Manifest) -> None:
    """What was accepted is JSON, its spec can be stored, and it means the same when it is read again."""
    written = manifest.to_json()
    again = validate_object(json.loads(json.dumps(written)), allow_relative=True).manifest
    assert again == manifest
    manifest.spec.model_dump_json(exclude_unset=True)


def judge(document: Any) -> None:
    problems: Sequence[Problem] = ()
    try:
        found = validate_object(document)
    except ManifestError as error:
        problems = error.problems
    else:
        can_be_told(found.warnings)
        can_be_kept(found.manifest)
    can_be_told(problems)


def judge_text(text: str) -> None:
    problems: Sequence[Problem] = ()
    try:
        found = parse_sources([Source("a.yaml", text)])
    except ManifestError as error:
        problems = error.problems
    else:
        can_be_told(found.skipped)
        for each in found.documents:
            can_be_told(each.warnings)
            can_be_kept(each.manifest)
    can_be_told(problems)


@settings(max_examples=500)
@given(spoilt())
@example(changed(_POD, ("spec", "podSpec"), {"x": "\ud800"}))
@example(changed(_POD, ("spec", "imageOverrides"), {"x": {"\ud800": 1}}))
@example(changed(_MODEL, ("spec", "parameters"), [{"name": "x", "value": "\ud800"}]))
def test_a_manifest_in_which_something_is_wrong(document: Any) -> None:
    judge(document)


@settings(max_examples=150)
@given(_ANY)
def test_whatever_json_can_say(document: Any) -> None:
    judge(document)


@settings(max_examples=300)
@given(spoilt())
def test_the_same_as_a_text(document: Any) -> None:
    judge_text(json.dumps(document))


@example("a: *" + "9" * 5000)
@example(f"? {'k' * 5000}\n: 1\n? {'k' * 5000}\n: 2\n")
@example(f"a: !{'t' * 5000} x")
@settings(max_examples=700)
@given(_YAML)
@example('a: "\\ud800"\n')
def test_what_looks_like_yaml(text: str) -> None:
    judge_text(text)


@settings(max_examples=150)
@given(st.text(st.characters(), max_size=60))
@example("\ud800")
@example("kind: Model\nname: \udfff\n")
def test_any_text(text: str) -> None:
    judge_text(text)


@settings(max_examples=300)
@given(st.sampled_from(_WHOLE), st.data())
def test_a_manifest_that_was_cut_and_pasted(document: Json, data: st.DataObject) -> None:
    text = json.dumps(document, indent=2)
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(begin, min(len(text), begin + 30)))
        text = text[:begin] + data.draw(_YAML) + text[end:]
    judge_text(text)
