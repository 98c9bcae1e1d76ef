"""The script that names the model of a REST request: the sizes at which it refuses one, and in which words."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.gateway.oip.model_name import shown
from overbook.gateway.scripts import read_scripts
from overbook.gateway.snapshot.names import MODEL_HEADER, SELDON_HEADER
from overbook.manifests.names import MAX_NAME, is_model_name
from overbook.wire.limits import MAX_BODY
from tests.unit.gateway.lua.envoy import Ran, Refusal, Script

SCRIPT: Final = Script(read_scripts().name_rest)


def asked(name: str, length: str = "2") -> Ran:
    return SCRIPT.request({":path": f"/v2/models/{name}/infer", "content-length": length})


def test_a_body_of_the_largest_size_and_one_that_is_larger() -> None:
    assert asked("iris", str(MAX_BODY)).headers[MODEL_HEADER] == b"iris"
    words = f"request body: {MAX_BODY + 1} bytes, at most {MAX_BODY} are accepted"
    assert asked("iris", str(MAX_BODY + 1)).refusal == Refusal("413", "", words)


def test_a_name_of_the_largest_length_and_one_that_is_longer() -> None:
    longest = "m" * MAX_NAME
    assert asked(longest).headers[MODEL_HEADER] == longest.encode()
    assert asked(f"{longest}m").refusal == Refusal("404", "", f"model {longest}m: not found")


@given(st.text("ab09-._ A~\x07\x7fé", min_size=1, max_size=100))
def test_a_name_is_one_where_manifests_take_it_for_one(name: str) -> None:
    ran = asked("".join(f"%{byte:02x}" for byte in name.encode()))
    if is_model_name(name):
        assert (ran.refusal, ran.headers[MODEL_HEADER]) == (None, name.encode())
    else:
        # Byte by byte, as the script sees it.
        words = shown(name.encode().decode("ascii", errors="replace"))
        assert ran.refusal == Refusal("404", "", f"model {words}: not found")


@pytest.mark.parametrize("path", ["/v2", "/v2/models/", "/v3/models/iris/infer"])
def test_a_path_without_a_name(path: str) -> None:
    refusal = SCRIPT.request({":path": path}).refusal
    assert refusal is not None
    assert (refusal.status, refusal.message) == (
        "404",
        "path: names no model; expected /v2/models/NAME/...",
    )


@pytest.mark.parametrize("path", ["/explain", "/", "/v2x", "/v1/models/wine:predict"])
def test_on_a_models_own_path_the_header_names_it(path: str) -> None:
    ran = SCRIPT.request({":path": path, SELDON_HEADER: "My.iris_2"})
    assert (ran.refusal, ran.headers[MODEL_HEADER]) == (None, b"My.iris_2")
    assert ran.headers[":path"] == path.encode()
    refusal = SCRIPT.request({":path": path, SELDON_HEADER: "no~name"}).refusal
    assert refusal == Refusal("404", "", "model no~name: not found")


@pytest.mark.parametrize(
    "path",
    ["/v2", "/v2/models/", "/%762/logging", "/v2/%6dodels/iris", "/%25762/models/iris/infer"],
)
def test_no_header_names_the_model_of_a_path_of_the_protocol(path: str) -> None:
    refusal = SCRIPT.request({":path": path, SELDON_HEADER: "iris"}).refusal
    assert refusal is not None
    assert refusal.status == "404"


CROOKED: Final = (
    "/v2/models/mine/infer/../../iris/infer",
    "/v2/models/mine/../iris/infer",
    "/v2/models/mine/infer/%2e%2E/%2e./iris/infer",
    "/v2/models/mine/infer/..%2f..%2firis/infer",
    "/v2/models/mine/infer/%252e%252e/%252e%252e/iris/infer",
    "/v2/models/mine/versions/../../iris/infer",
    "/v2/models/mine/infer/..;/..;/iris/infer",
    "/v2/models/mine/infer/..\\..\\iris\\infer",
    "/v2/models/mine/infer/%5c",
    "/v2/models/mine//infer",
    "/v2/models/mine/.",
    "//v2/models/iris/infer",
    "/./v2/models/iris/infer",
    "/own/../v2/models/iris/infer",
    "/own/%2e%2e/v2/models/iris/infer",
    "/own/..",
    "/own/é",
    "/v2/models/mine/infer?\x7f",
)


@pytest.mark.parametrize("path", CROOKED)
def test_a_path_of_which_somebody_could_make_another_names_no_model(path: str) -> None:
    """An attached server may have a proxy in front of it that does so."""
    words = (
        "path: has an empty segment, '.', '..', a backslash or a character that is not ASCII; "
        "expected it without"
    )
    assert SCRIPT.request({":path": path, SELDON_HEADER: "mine"}).refusal == Refusal(
        "404", "", words
    )


@pytest.mark.parametrize("path", ["/own/..x", "/own/x..", "/own/.x/", "/own?/../v2//", "/own/..."])
def test_dots_in_names_are_no_steps(path: str) -> None:
    assert SCRIPT.request({":path": path, SELDON_HEADER: "mine"}).refusal is None


@pytest.mark.parametrize("rest", ["/infer?x=%20", "/versions/1/infer", "/config", "/own/%69nfer"])
def test_an_encoded_name_is_written_as_it_is_and_nothing_else(rest: str) -> None:
    ran = SCRIPT.request({":path": f"/v2/models/%49ris%5F2{rest}"})
    assert ran.refusal is None
    assert ran.headers[MODEL_HEADER] == b"Iris_2"
    assert ran.headers[":path"] == f"/v2/models/Iris_2{rest}".encode()
