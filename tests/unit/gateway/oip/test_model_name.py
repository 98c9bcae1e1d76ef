"""The name found by walking the fields is the name that a full decode would see."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.gateway.oip.model_name import MAX_FIELDS, MalformedMessage, model_name
from overbook.wire import oip_pb2 as pb

NAMES = st.text(alphabet="ab-0é漢\N{GRINNING FACE}\0", max_size=70)


@given(name=NAMES, version=NAMES, raw=st.lists(st.binary(max_size=300), max_size=5))
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


@given(st.binary(max_size=60))
def test_any_bytes_give_what_a_full_decode_gives_or_are_refused(message: bytes) -> None:
    try:
        found = model_name(message)
    except MalformedMessage:
        return
    try:
        decoded = pb.ModelInferRequest.FromString(message)
    except Exception:
        # Broken further inside: the server's to refuse.
        return
    assert found == decoded.model_name


def test_unknown_fields_of_every_kind_are_jumped_over() -> None:
    varint, fixed64, fixed32 = b"\xa0\x06\x80\x01", b"\xa1\x06" + b"8" * 8, b"\xa5\x06" + b"4" * 4
    message = varint + fixed64 + fixed32 + b"\x0a\x04iris" + varint
    assert model_name(message) == "iris"


def test_field_one_of_another_kind_is_not_the_name() -> None:
    assert model_name(b"\x08\x05") == ""


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (b"\x0a", "cut off"),
        (b"\x0a\x05iris", "ends after the message"),
        (b"\x32\x7f", "ends after the message"),
        (b"\xff" * 11, "longer than 10 bytes"),
        (b"\x0b\x0c", "wire type 3"),
        (b"\x0a\x02\xff\xfe", "not UTF-8"),
        (b"\x10\x00" * (MAX_FIELDS + 1), "more than"),
    ],
)
def test_malformed_messages_are_refused_with_the_place(message: bytes, says: str) -> None:
    with pytest.raises(MalformedMessage, match=says):
        model_name(message)
