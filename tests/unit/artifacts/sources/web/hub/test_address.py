"""Addresses of the hub: what they say, and which are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.web.hub.address import HubAddress, parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("hf://openai/clip-vit", HubAddress("openai", "clip-vit")),
        ("hf://models/openai/clip", HubAddress("openai", "clip")),
        ("hf://openai/clip/", HubAddress("openai", "clip")),
        ("hf://a/b@v1.0", HubAddress("a", "b", "v1.0")),
        ("hf://a/b@v1.0/onnx", HubAddress("a", "b", "v1.0", "onnx")),
        ("hf://a/b/onnx/model.onnx", HubAddress("a", "b", "main", "onnx/model.onnx")),
        (f"hf://a/b@{COMMIT}/1", HubAddress("a", "b", COMMIT, "1")),
        ("hf://a/b@feature%2Fx/y", HubAddress("a", "b", "feature/x", "y")),
        ("hf://a/b@refs/pr/12/y", HubAddress("a", "b", "refs/pr/12", "y")),
        ("hf://a/b@refs/convert/onnx", HubAddress("a", "b", "refs/convert/onnx")),
        ("hf://a/b/with blank@odd", HubAddress("a", "b", "main", "with blank@odd")),
        ("hf://a/b/p@v1/x", HubAddress("a", "b", "main", "p@v1/x")),
        ("hf://a_b/C.d-e", HubAddress("a_b", "C.d-e")),
    ],
)
def test_what_they_say(uri: str, expected: HubAddress) -> None:
    assert parse(uri) == expected


def test_a_commit_is_for_all_time() -> None:
    assert parse(f"hf://a/b@{COMMIT}").commit == COMMIT
    assert parse("hf://a/b@main").commit == ""
    assert parse(f"hf://a/b@{COMMIT[:-1]}").commit == ""


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("hf://", "the owner ''"),
        ("hf://gpt2", "the name ''"),
        ("hf://a/", "the name ''"),
        ("hf:///b", "the owner ''"),
        ("hf://../b", "the owner '..'"),
        ("hf://a/..", "the name '..'"),
        ("hf://a/b--c", "the name 'b--c'"),
        ("hf://a/b:v1", "the name 'b:v1'"),
        ("hf://a/b?x=1", "the name 'b?x=1'"),
        ("hf://a/b%2e", "the name 'b%2e'"),
        ("hf://a/b@", "the revision ''"),
        ("hf://a/b@/c", "the revision ''"),
        ("hf://a/b@..%2F..", "the revision '../..'"),
        ("hf://a/b@v%0a1", r"the revision 'v\n1'"),
        ("hf://a/b@v 1", "the revision 'v 1'"),
        ("hf://a/b//c", "the path '/c'"),
        ("hf://a/b/../c", "the path '../c'"),
        ("hf://a/b/c/./d", "the path 'c/./d'"),
        ("hf://a/b/c\\d", r"the path 'c\\d'"),
        ("hf://a/b/c\nd", r"the path 'c\nd'"),
        ("hf://datasets/a/b", "one of the hub's datasets"),
        ("hf://spaces/a/b", "one of the hub's spaces"),
    ],
)
def test_which_are_none(uri: str, why: str) -> None:
    with pytest.raises(SourceError) as raised:
        parse(uri)
    assert raised.value.trouble is Trouble.BAD_ADDRESS
    message = str(raised.value)
    assert why in message
    assert message.endswith("expected hf://OWNER/NAME[@REVISION][/PATH]")
    assert "\n" not in message


def test_a_token_in_an_address_is_not_repeated() -> None:
    with pytest.raises(SourceError) as raised:
        parse("hf://hf_SECRET@a/b")
    assert "SECRET" not in str(raised.value)


def outcome(uri: str) -> HubAddress | SourceError:
    try:
        return parse(uri)
    except SourceError as error:
        return error


@given(st.text("aZ1/@:.-_%2F \\\n", max_size=30), st.sampled_from(("", "a/b/", "a/b@", "a/b@v1/")))
def test_whatever_is_taken_is_written_so_that_it_is_taken_again(text: str, begin: str) -> None:
    found = outcome(f"hf://{begin}{text}")
    if isinstance(found, SourceError):
        assert found.trouble is Trouble.BAD_ADDRESS
        assert "\n" not in str(found)
        return
    assert ".." not in found.path.split("/")
    assert parse(str(found)) == found
