"""The text of a secret: what it may be, and that no refusal says what is in it."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.artifacts.errors import Trouble
from overbook.artifacts.secrets.errors import SecretError
from overbook.artifacts.secrets.parsing import MOST_BYTES, parse_secret
from overbook.artifacts.secrets.remote import RemoteSecret

VALUE = "Zk9-hunter2-Qx7"

SELDON = """\
type: s3
name: s3
parameters:
  provider: Minio
  env_auth: false
  access_key_id: admin
  secret_access_key: 0123
  endpoint: http://minio:9000
"""


def refusal(text: str) -> str:
    with pytest.raises(SecretError) as raised:
        parse_secret("minio", text)
    assert raised.value.trouble is Trouble.BAD_SECRET
    assert not raised.value.passing
    told = str(raised.value)
    assert "\n" not in told
    # The value is in no cause either: tracebacks show those.
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return told


def test_seldons_form() -> None:
    found = parse_secret("minio", SELDON)
    assert found == RemoteSecret(
        "minio",
        "s3",
        "s3",
        {
            "provider": "Minio",
            "env_auth": "false",
            "access_key_id": "admin",
            "secret_access_key": "0123",
            "endpoint": "http://minio:9000",
        },
    )


def test_json_is_the_same() -> None:
    parameters = {"a": "x", "n": 7, "f": 1.50, "yes": True, "none": None, "pem": "a\nb"}
    text = json.dumps({"name": "m", "type": "google cloud storage", "parameters": parameters})
    expected = {"a": "x", "n": "7", "f": "1.5", "yes": "true", "pem": "a\nb"}
    found = parse_secret("m", text)
    assert (found.type, found.parameters) == ("google cloud storage", expected)
    assert parse_secret("m", "\ufeff" + text) == found


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0123", "0123"),
        ("1e3", "1e3"),
        ("0x1F", "0x1F"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("yes", "yes"),
        ("TRUE", "true"),
        ("'true'", "true"),
        ("'TRUE'", "TRUE"),
        ("''", ""),
        ("'~'", "~"),
        ("!!str 12", "12"),
        ('"\\U0001F600"', "😀"),
        ("|-\n    line 1\n    line 2", "line 1\nline 2"),
    ],
)
def test_scalars_are_taken_as_they_are_written(written: str, meant: str) -> None:
    text = f"name: m\ntype: s3\nparameters:\n  key: {written}\n"
    assert parse_secret("m", text).parameters == {"key": meant}


@pytest.mark.parametrize("text", ["name: m\ntype: s3", "{name: m, type: s3, parameters: }"])
def test_without_parameters_the_machine_is_asked_who_it_is(text: str) -> None:
    assert parse_secret("m", text).parameters == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "secret 'minio': is empty; expected name, type and parameters, in JSON or YAML"),
        ("# only a remark", "is empty"),
        (VALUE, "is no mapping"),
        (f"[{VALUE}]", "is a list; expected name, type and parameters"),
        (f"- {VALUE}", "is a list"),
        (f'{{"name": "{VALUE}"', "is neither JSON nor YAML (line "),
        (f"name: m\n\t{VALUE}: x", "is neither JSON nor YAML (line 2, column 1)"),
        (f"name: *{VALUE}", "has an anchor or an alias"),
        (f"name: &{VALUE} m", "has an anchor or an alias"),
        (f"parameters: &a\n  x: {VALUE}", "has an anchor or an alias"),
        (f"name: !{VALUE} m", "has a tag"),
        ("name: !!binary aGk=", "has a tag"),
        (f"? [{VALUE}]\n: m", "has a key that is no text"),
        (f"name: m\n---\nname: {VALUE}", "has several documents"),
        (
            "name: m\ntype: s3\nregion: x",
            "region: is not known; expected name, type and parameters",
        ),
        (f"{VALUE}: x", "(a key that is not shown)"),
        ("nam: m\ntype: s3", "nam: is not known; did you mean name?"),
        ("name: m\ntype: s3\nparameter: {}", "parameter: is not known; did you mean parameters?"),
        (
            "name: m\ntype: AWS",
            "type: is not one that rclone takes; expected a kind of rclone remote",
        ),
        ("name: m\ntype: Google", "expected a kind of rclone remote, such as google cloud storage"),
        ("kind: Secret\nname: m", "kind: is a key of a Kubernetes object; expected what stands"),
        ("type: s3", "name: is required; expected"),
        ("name: m", "type: is required; expected a kind of rclone remote, such as s3"),
        (f"name: {{x: {VALUE}}}\ntype: s3", "name: is not one that rclone takes"),
        (f"name: m\ntype: {VALUE}", "type: is not one that rclone takes"),
        (f"name: '[{VALUE}]'\ntype: s3", "name: is not one that rclone takes"),
        (f"name: m\ntype: s3\nparameters: {VALUE}", "parameters: is no mapping"),
        (f"name: m\ntype: s3\nparameters: [{VALUE}]", "parameters: is a list"),
        (
            f"name: m\ntype: s3\nparameters:\n  a: [{VALUE}]",
            "parameters.a: is a list; expected text",
        ),
        (f"name: m\ntype: s3\nparameters:\n  a: {{b: {VALUE}}}", "parameters.a: is a mapping"),
        (f"name: m\ntype: s3\nparameters:\n  a: {VALUE}\n  a: b", "parameters.a: appears twice"),
        ("name: m\nname: n\ntype: s3", "name: appears twice"),
        ("name: m\ntype: s3\nparameters:\n  'a b': x", "is no option's name"),
        ('name: m\ntype: s3\nparameters:\n  a: "x\\0"', "has a character that is no text"),
        (
            '{"name": "m", "type": "s3", "parameters": {"a": "\\ud83d"}}',
            "has a character that is no",
        ),
        ('{"name": "m", "type": "s3", "parameters": {"a": [1]}}', "parameters.a: is a list"),
        ('{"name": "m", "type": "s3", "parameters": {"a": {}}}', "parameters.a: is a mapping"),
        ('{"name": "m", "name": "n", "type": "s3"}', "name: appears twice"),
    ],
)
def test_what_is_wrong_is_told_without_what_is_in_it(text: str, said: str) -> None:
    told = refusal(text)
    assert said in told
    assert told.startswith("secret 'minio': ")
    assert VALUE not in told


def test_what_looks_like_a_value_is_never_shown_as_a_key() -> None:
    for value in ("AKIA4XQ7K2M9", "a3f90bc1d2", VALUE, "x" * 90, "a/b+c=="):
        assert value not in refusal(f"'{value}': x")
        assert value not in refusal(f"name: m\ntype: s3\nparameters:\n  '{value}': [1]")


def test_no_text_is_too_large_to_be_refused_quickly() -> None:
    began = time.process_time()
    assert f"has more than {MOST_BYTES} bytes" in refusal("x" * (MOST_BYTES + 1))
    assert f"has more than {MOST_BYTES} bytes" in refusal("é" * (MOST_BYTES // 2 + 1))
    for bomb in ("[" * MOST_BYTES, "{a: " * 16_000, '{"a":' * 13_000, "- " * 32_000, "? " * 32_000):
        refusal(bomb)
    assert time.process_time() - began < 1


@given(st.text(max_size=200))
def test_every_text_is_a_secret_or_refused(text: str) -> None:
    with contextlib.suppress(SecretError):
        parse_secret("minio", text)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), st.text(max_size=30)))
def test_what_json_says_comes_back(parameters: dict[str, str]) -> None:
    kept = {key: value for key, value in parameters.items() if "\0" not in value}
    text = json.dumps({"name": "m", "type": "s3", "parameters": kept})
    assert parse_secret("m", text).parameters == kept


def test_no_text_made_of_it_holds_its_parameters() -> None:
    found = parse_secret("m", f"name: m\ntype: s3\nparameters:\n  key: {VALUE}")
    assert VALUE in found.parameters.values()
    for text in (repr(found), str(found), f"{found}", repr([found]), repr({"a": found})):
        assert VALUE not in text
