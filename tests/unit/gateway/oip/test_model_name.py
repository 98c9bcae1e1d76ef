"""The name found by walking the fields is the name that a full decode would see.

What is refused, and in which words, is in `tests/unit/gateway/lua/test_name_grpc.py`, for the script in Envoy as well.
"""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from overbook.gateway.oip.errors import BadRequest
from overbook.gateway.oip.model_name import model_name, shown
from overbook.manifests.names import MAX_NAME, is_model_name
from overbook.wire import oip_pb2 as pb
from overbook.wire.limits import MAX_SHOWN
from tests.unit.gateway.oip.hostile import MESSAGES, NAMED

NAMES = st.text("ab-09", max_size=MAX_NAME)


@given(name=NAMES, version=st.text(), raw=st.lists(st.binary(max_size=300), max_size=5))
def test_agrees_with_a_full_decode(name: str, version: str, raw: list[bytes]) -> None:
    request = pb.ModelInferRequest(
        model_name=name,
        model_version=version,
        inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 4])],
        raw_input_contents=raw,
    )
    assert model_name(request.SerializeToString()) == name


@given(first=NAMES, last=NAMES, between=st.binary(max_size=40))
def test_the_last_occurrence_counts(first: str, last: str, between: bytes) -> None:
    message = (
        pb.ModelInferRequest(model_name=first).SerializeToString()
        + pb.ModelInferRequest(raw_input_contents=[between]).SerializeToString()
        + pb.ModelInferRequest(model_name=last).SerializeToString()
    )
    assert model_name(message) == pb.ModelInferRequest.FromString(message).model_name


@settings(max_examples=500)
@given(MESSAGES)
def test_no_decoder_finds_another_model_in_any_message(message: bytes) -> None:
    """Whether it is one that can be or not: what is refused here never comes to a decoder."""
    try:
        found = model_name(message)
        decoded = pb.ModelInferRequest.FromString(message).model_name
    except (BadRequest, DecodeError):
        return
    assert is_model_name(found) == is_model_name(decoded)
    if is_model_name(found):
        assert found == decoded


@pytest.mark.parametrize("how", NAMED)
def test_what_names_a_model_for_us_names_none_but_that_for_a_decoder(how: str) -> None:
    try:
        assert pb.ModelInferRequest.FromString(NAMED[how]).model_name == "iris"
    except DecodeError:
        assert how in {"a tag with spare bytes", "an impossible name before"}


def test_the_longest_name_is_not_cut() -> None:
    assert MAX_SHOWN >= MAX_NAME
    assert len(shown("m" * 1000)) == MAX_SHOWN
