"""Texts of manifests: lines in every problem, several documents, duplicates, and hostile input."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overbook.manifests import parse
from overbook.manifests.parse import Document, Parsed, Source, parse_sources
from overbook.manifests.problems import ManifestError

IRIS = """\
apiVersion: overbook.dev/v1alpha1
kind: Model
metadata:
  name: iris
spec:
  storageUri: ./models/iris
  requirements: [sklearn]
  memory: 100Ki
"""


def parsed(*texts: str) -> tuple[Document, ...]:
    return read(*texts).documents


def read(*texts: str) -> Parsed:
    return parse_sources([Source(f"{index}.yaml", text) for index, text in enumerate(texts)])


def said(*texts: str) -> list[str]:
    """The problems' lines; none when the texts are right."""
    try:
        parsed(*texts)
    except ManifestError as refused:
        return [str(problem) for problem in refused.problems]
    return []


def problems(*texts: str) -> list[str]:
    lines = said(*texts)
    assert lines, "they were accepted"
    return lines


def test_documents_come_in_order_with_their_places() -> None:
    found = parsed(
        f"{IRIS}---\n{IRIS.replace('name: iris', 'name: wine')}",
        IRIS.replace("name: iris", "name: tea"),
    )
    assert [(each.manifest.name, each.source, each.line) for each in found] == [
        ("iris", "0.yaml", 4),
        ("wine", "0.yaml", 13),
        ("tea", "1.yaml", 4),
    ]


@pytest.mark.parametrize("text", ["", "---\n---\n", "# only a comment\n", "null\n"])
def test_empty_texts_have_no_documents(text: str) -> None:
    assert parsed(text) == ()


def test_a_wrong_value_names_file_line_and_field() -> None:
    assert problems(IRIS.replace("100Ki", "100Qi")) == [
        "0.yaml:8: spec.memory: '100Qi' is not a quantity; expected bytes such as 100Ki, 1.5Gi or 2e9"
    ]


def test_a_missing_field_names_the_line_of_what_should_hold_it() -> None:
    text = IRIS.replace("  storageUri: ./models/iris\n", "")
    assert problems(text) == [
        "0.yaml:5: spec.storageUri: is required; expected a path or URI of the model's artifact"
    ]


def test_a_list_item_has_its_own_line() -> None:
    text = IRIS.replace("[sklearn]", "\n  - sklearn\n  - 7")
    assert problems(text) == ["0.yaml:9: spec.requirements[1]: 7 is not text (put it in quotes)"]


def test_problems_of_all_documents_and_files_are_collected() -> None:
    found = problems(
        IRIS.replace("100Ki", "x") + "---\n" + IRIS.replace("iris", "-b"),
        "a: [\n",
        IRIS.replace("Model", "Pod"),
    )
    assert [line.split(" ")[0] for line in found] == [
        "0.yaml:8:",
        "0.yaml:13:",
        "1.yaml:2:",
        "2.yaml:2:",
    ]


def test_a_name_twice_names_both_places() -> None:
    assert problems(IRIS, f"---\n{IRIS}") == [
        "1.yaml:5: metadata.name: Model 'iris' appears twice, first at 0.yaml:4; expected each name once"
    ]


def test_a_model_and_a_server_may_share_a_name() -> None:
    server = "{apiVersion: overbook.dev/v1alpha1, kind: Server, metadata: {name: iris}, spec: {serverConfig: mlserver}}"
    assert len(parsed(IRIS, server)) == 2


def test_a_key_twice_is_an_error_with_both_lines() -> None:
    assert "0.yaml:9: 'memory' appears twice, first in line 8" in problems(IRIS + "  memory: 5\n")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2e9", 2e9),
        ("5", 5),
        ("'5'", "5"),
        ("1.5Gi", "1.5Gi"),
        ("0x10", 16),
        ("!!str 7", "7"),
        ("!!int '7'", 7),
        (".5e3", 500.0),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(written: str, meant: object) -> None:
    (document,) = parsed(IRIS.replace("100Ki", written))
    spec = document.manifest.to_json()["spec"]
    assert isinstance(spec, dict)
    assert spec["memory"] == meant
    assert type(spec["memory"]) is type(meant)


@pytest.mark.parametrize("name", ["no", "on", "y", "1-2", "2020-01-02"])
def test_words_that_yaml_1_1_takes_for_something_else_are_names(name: str) -> None:
    (document,) = parsed(IRIS.replace("name: iris", f"name: {name}"))
    assert document.manifest.name == name


def test_json_with_tabs() -> None:
    text = json.dumps(parsed(IRIS)[0].manifest.to_json(), indent="\t")
    assert parsed(text)[0].manifest == parsed(IRIS)[0].manifest


@pytest.mark.parametrize(
    "wrap", ["[{0}]", '{{"kind": "List", "apiVersion": "v1", "items": [{0}]}}']
)
def test_lists_of_objects(wrap: str) -> None:
    text = wrap.format(json.dumps(parsed(IRIS)[0].manifest.to_json()))
    assert parsed(text)[0].manifest.name == "iris"


@pytest.mark.parametrize("kind", ["Fruit", 7])
def test_only_a_list_has_items_that_are_manifests(kind: str | int) -> None:
    text = json.dumps(
        {"kind": kind, "apiVersion": "overbook.dev/v1alpha1", "items": [{"kind": "Model"}]}
    )
    assert any("kind" in line for line in problems(text))
    assert not any("metadata" in line for line in problems(text)), "its items were looked at"


def test_anchors_and_merge_keys() -> None:
    text = IRIS.replace("metadata:", "metadata: &m").replace("  memory: 100Ki\n", "") + "---\n"
    text += """\
apiVersion: overbook.dev/v1alpha1
kind: Server
metadata: {name: s, labels: &l {a: b}, annotations: {<<: *l, c: d}}
spec: {serverConfig: mlserver}
"""
    assert parsed(text)[1].manifest.metadata.annotations == {"a": "b", "c": "d"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: *nothing\n", "0.yaml:1: alias 'nothing' has no anchor before it"),
        ("a: &x [*x]\n", "0.yaml:1: alias 'x' has no anchor before it"),
        ("? [a]\n: b\n", "0.yaml:1: a list or mapping cannot be a key; expected text"),
        ("a: &x 1\n? *x\n: 2\n", "0.yaml:2: an alias cannot be a key; expected text"),
        ("<<: 7\n", "0.yaml:1: << merges mappings"),
        (
            "a: !!python/object:os.system x\n",
            "0.yaml:1: tag 'tag:yaml.org,2002:python/object:os.system'",
        ),
        ("a: !mine x\n", "0.yaml:1: tag '!mine' is not allowed"),
        ("\x00", "0.yaml: not YAML:"),
        ("a: 'x\n", "0.yaml:2: not YAML: while scanning a quoted scalar"),
        ("a: b: c\n", "0.yaml:1: not YAML: mapping values are not allowed"),
        ("just text\n", "0.yaml:1: 'just text' is not a manifest"),
        ("[" * 100_000, "0.yaml:1: too much in one document"),
        ("- " * 100_000, "0.yaml:1: too much in one document"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_its_place(text: str, reason: str) -> None:
    found = problems(text)
    assert found[0].startswith(reason)
    assert all("\n" not in line for line in found)


def test_aliases_cannot_blow_a_text_up() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 12):
        text += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n"
    assert problems(text) == [
        "0.yaml:1: too much in one document; expected at most 10000 values, 64 deep, aliases included"
    ]


_KEYS = ", ".join(f"k{number}: 1" for number in range(9_000))
_REPEATED = "aliases and merges add more than 1000000 values to this text"


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("{<K>}", "{<<: *a}"),
        ("[" + ", ".join(["{}"] * 9_000) + "]", "{<<: *a}"),
        ("{<K>}", "*a"),
        ("{<K>}", "{x: {y: *a}}"),
        ("{kind: List, items: [{<K>}]}", "*a"),
    ],
    ids=["merges", "merges of many", "aliases", "aliases within", "a list of them"],
)
def test_a_text_that_repeats_itself_costs_what_its_length_allows(first: str, again: str) -> None:
    """Each of these 20,000 would be 9,000 values, which are hours of work; and merges hold them in memory, too."""
    text = f"- &a {first.replace('<K>', _KEYS)}\n" + f"- {again}\n" * 20_000
    found = problems(text)
    assert found[-1].split(": ", 1)[1].startswith(_REPEATED)


def test_what_many_objects_share_may_be_an_alias() -> None:
    one = {"apiVersion": "overbook.dev/v1alpha1", "kind": "Model"}
    items = "\n".join(f"- {{<<: *o, metadata: {{name: m{n}}}, spec: *s}}" for n in range(3_000))
    text = f"- &o {json.dumps({**one, 'metadata': {'name': 'first'}, 'spec': {}})}\n{items}\n"
    text = text.replace('"spec": {}', '"spec": &s {storageUri: /m, requirements: [sklearn]}')
    assert len(parsed(text)) == 3_001


def test_no_manifest_has_a_hundred_tag_directives() -> None:
    directives = "".join(f"%TAG !e{number}! tag:e,2000:\n" for number in range(100))
    assert said(f"{directives}---\n{IRIS}") == []
    (found,) = problems(f"%TAG !x! tag:x,2000:\n{directives}---\n{IRIS}")
    assert found == "0.yaml: %TAG occurs 101 times; expected at most 100"


def test_a_text_beyond_the_bound_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "MAX_TEXT", 100)
    assert problems(IRIS) == [
        f"0.yaml: {len(IRIS)} characters; expected at most 100: split the file"
    ]


def test_warnings_have_lines_too() -> None:
    text = IRIS.replace("overbook.dev", "mlops.seldon.io") + "  pinned: true\n"
    (document,) = parsed(text)
    assert [str(problem).split(": ")[:2] for problem in document.warnings] == [
        ["0.yaml:9", "spec.pinned"]
    ]


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!?<|>'\"#, \n\t0"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert all(len(line.splitlines()) == 1 for line in said(text))


PIPELINE = IRIS.replace("kind: Model", "kind: Pipeline").replace("overbook.dev", "mlops.seldon.io")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PIPELINE, "Pipeline 'iris' of mlops.seldon.io/v1alpha1"),
        (
            PIPELINE.replace("Pipeline", "Experiment"),
            "Experiment 'iris' of mlops.seldon.io/v1alpha1",
        ),
        (PIPELINE.replace("Pipeline", "Newcomer"), "Newcomer 'iris' of mlops.seldon.io/v1alpha1"),
        ("apiVersion: apps/v1\nkind: Deployment\nspec: {}\n", "Deployment of apps/v1"),
        ("apiVersion: v1\nkind: Secret\nmetadata: {}\n", "Secret of v1"),
        ('apiVersion: v1\nkind: "a\\nb"\n', "'a\\nb' of v1"),
    ],
)
def test_what_is_for_others_is_skipped_and_the_rest_is_taken(text: str, told: str) -> None:
    found = read(IRIS, text, IRIS.replace("name: iris", "name: wine"))
    assert [each.manifest.name for each in found.documents] == ["iris", "wine"]
    (skipped,) = map(str, found.skipped)
    assert skipped.startswith("1.yaml:")
    assert skipped.endswith(f": {told} is skipped; Overbook has Models and Servers")


@pytest.mark.parametrize(
    "text",
    [
        IRIS.replace("kind: Model", "kind: Pipeline"),
        PIPELINE.replace("Pipeline", "Modle"),
        PIPELINE.replace("Pipeline", "[Pipeline]"),
        IRIS.replace("overbook.dev/v1alpha1", "overbook.dev/v2"),
        IRIS.replace("apiVersion: overbook.dev/v1alpha1\n", "").replace("Model", "Pod"),
    ],
)
def test_what_may_be_a_misspelt_manifest_is_a_problem(text: str) -> None:
    assert problems(text)


def test_half_a_character_is_told_with_its_line() -> None:
    """The control API's JSON can name one, which no text in UTF-8 can hold."""
    assert problems(f"{IRIS}# \ud800\n") == [
        r"0.yaml:9: not Unicode: half a character ('\ud800'); expected text in UTF-8"
    ]
