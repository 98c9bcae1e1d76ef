"""The script that names the model of a REST request: the sizes at which it refuses one, and in which words."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.gateway.oip.model_name import shown
from overbook.gateway.scripts import read_scripts
from overbook.gateway.snapshot.names import MODEL_HEADER
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
