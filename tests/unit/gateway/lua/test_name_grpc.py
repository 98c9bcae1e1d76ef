"""The script that names the model of a call of gRPC says what the stream relay says of the same message."""

from __future__ import annotations

import contextlib
import gzip
import random
import zlib
from collections.abc import Callable, Mapping
from typing import Final

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from overbook.gateway.oip.errors import NoAnswer
from overbook.gateway.oip.methods import status_of
from overbook.gateway.oip.model_name import asked_model
from overbook.gateway.scripts import read_scripts
from overbook.gateway.snapshot.names import MODEL_HEADER, SELDON_HEADER
from overbook.wire.limits import MAX_INFLATED
from overbook.wire.oip_pb2 import ModelInferRequest
from tests.unit.gateway.lua.envoy import Refusal, Script
from tests.unit.gateway.oip.hostile import INVALID_ARGUMENT, MESSAGES, NAMED, REFUSED, mutated
from tests.unit.wire.writing import block, varint

SCRIPT: Final = Script(read_scripts().name_grpc)
Said = str | tuple[int, str]
COMPRESS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}


def framed(message: bytes, *, compressed: int = 0) -> bytes:
    """As gRPC sends it."""
    return bytes([compressed]) + len(message).to_bytes(4, "big") + message


def script_says(message: bytes, header: str | None = None, *, encoding: str = "") -> Said:
    """The name, or with which status and words the message is refused. ``encoding``: of a message to compress."""
    headers = {} if header is None else {SELDON_HEADER: header}
    body = framed(message)
    if encoding:
        headers["grpc-encoding"] = encoding
        body = framed(COMPRESS[encoding](message), compressed=1)
    ran = SCRIPT.request(headers, body)
    if ran.refusal is None:
        return ran.headers[MODEL_HEADER].decode()
    assert MODEL_HEADER not in ran.headers
    assert ran.refusal.status == "400"
    return int(ran.refusal.grpc_status), ran.refusal.message


def relay_says(message: bytes, header: str | None = None) -> Said:
    try:
        return asked_model(message, header)
    except NoAnswer as refusal:
        return status_of(refusal).value[0], str(refusal)


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_refused(why: str) -> None:
    message, refusal = REFUSED[why]
    assert script_says(message) == relay_says(message) == refusal


@pytest.mark.parametrize("how", NAMED)
def test_what_names_a_model(how: str) -> None:
    assert script_says(NAMED[how]) == relay_says(NAMED[how]) == "iris"


@settings(max_examples=1000, deadline=None)
@given(message=MESSAGES, header=st.sampled_from([None, None, None, "iris", "Wine\x07" * 30, ""]))
def test_both_say_the_same_of_any_message(message: bytes, header: str | None) -> None:
    assert script_says(message, header) == relay_says(message, header)


def test_all_say_the_same_of_what_was_changed_a_little() -> None:
    """The script, the relay, and protobuf's own parser where it accepts what they do not refuse."""
    named = decoded = 0
    for seed in range(6000):
        message = mutated(seed)
        said = script_says(message)
        assert said == relay_says(message), seed
        if isinstance(said, str):
            named += 1
            with contextlib.suppress(DecodeError):
                assert ModelInferRequest.FromString(message).model_name == said, seed
                decoded += 1
    assert named > 500
    assert decoded > 500


@pytest.mark.parametrize("length", [1, 4, 50])
@pytest.mark.parametrize("spare", [0, 9])
def test_a_name_may_lie_anywhere_across_the_end_of_what_is_read_at_once(
    length: int, spare: int
) -> None:
    name = "m" * length
    field = varint(10, spare) + varint(length, spare) + name.encode()
    for before in range(430, 520):
        message = block(7, "x" * before) + field
        assert script_says(message) == relay_says(message) == name


def test_a_header_that_names_another_model() -> None:
    words = (
        "seldon-model: header names wine, the message names iris; expected the same model in both"
    )
    iris = NAMED["the last name"]
    assert script_says(iris, "wine") == relay_says(iris, "wine") == (3, words)
    assert script_says(iris, "iris") == relay_says(iris, "iris") == "iris"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (None, "the request has no message"),
        (b"\0\0\0\0", "the request has no message"),
        (framed(b"\x0a\x04iris") + b"\0", "expected exactly one message"),
        (framed(b"\x0a\x04iris") * 2, "expected exactly one message"),
        (framed(b"\x0a\x04iris")[:-1], "expected exactly one message"),
    ],
)
def test_what_is_not_one_message(body: bytes | None, words: str) -> None:
    refusal = SCRIPT.request({}, body).refusal
    assert refusal == Refusal("400", str(INVALID_ARGUMENT), f"ModelInfer: {words}")


@pytest.mark.parametrize("flag", [1, 2])
@pytest.mark.parametrize("end", [b"", b"one more"])
def test_what_is_not_one_message_is_refused_when_it_is_compressed_too(
    end: bytes, flag: int
) -> None:
    """The gateway would wait for the rest of the frame for as long as the client does."""
    sent = framed(gzip.compress(_IRIS), compressed=flag)
    body = sent + end if end else sent[:-1]
    refusal = SCRIPT.request({"grpc-encoding": "gzip"}, body).refusal
    words = "ModelInfer: expected exactly one message"
    assert refusal == Refusal("400", str(INVALID_ARGUMENT), words)


def test_a_compressed_message_is_left_to_the_gateway() -> None:
    """Without the header `choose_cluster.lua` takes it there."""
    ran = SCRIPT.request({}, b"\x01" + framed(b"\x0a\x04iris")[1:])
    assert (ran.refusal, MODEL_HEADER in ran.headers) == (None, False)


@pytest.mark.parametrize("encoding", COMPRESS)
@settings(max_examples=300, deadline=None)
@given(message=MESSAGES, header=st.sampled_from([None, None, "iris"]))
def test_a_compressed_message_is_read_as_what_it_is(
    encoding: str, message: bytes, header: str | None
) -> None:
    assert script_says(message, header, encoding=encoding) == script_says(message, header)


@pytest.mark.parametrize("size", [MAX_INFLATED - 5, 100_000])
def test_a_name_behind_a_large_tensor_is_found_when_it_is_compressed(size: int) -> None:
    name = block(1, "iris")
    head = len(block(7, b"x" * size)) - size
    noise = random.Random(size).randbytes(size).hex()[: size - len(name) - head]
    message = block(7, noise) + name
    assert len(message) == size
    assert script_says(message, encoding="gzip") == "iris"


_IRIS: Final = block(1, "iris") + block(7, b"x" * 2000)
_LEFT: Final[Mapping[str, tuple[str, bytes, int]]] = {
    "another encoding than is said": ("gzip", zlib.compress(_IRIS), 1),
    "deflate without its head": ("deflate", zlib.compress(_IRIS)[2:], 1),
    "an encoding that is not known": ("br", gzip.compress(_IRIS), 1),
    "two encodings": ("gzip,gzip", gzip.compress(_IRIS), 1),
    "an odd flag": ("gzip", gzip.compress(_IRIS), 2),
    "cut off": ("gzip", gzip.compress(_IRIS)[:-1], 1),
    "a wrong sum": ("gzip", gzip.compress(_IRIS)[:-5] + b"12345", 1),
    "something behind it": ("gzip", gzip.compress(_IRIS) + b"x", 1),
    "two streams": ("gzip", gzip.compress(_IRIS) * 2, 1),
    "too large": (
        "gzip",
        gzip.compress(_IRIS + block(7, random.Random(1).randbytes(MAX_INFLATED)), 1),
        1,
    ),
    "much of little": ("gzip", gzip.compress(_IRIS + block(7, bytes(1_000_000))), 1),
    "too large as it is sent": ("gzip", bytes(MAX_INFLATED + 1), 1),
    "nothing": ("gzip", b"", 1),
}


@pytest.mark.parametrize("why", _LEFT)
def test_what_the_script_does_not_read_is_left_to_the_gateway(why: str) -> None:
    encoding, sent, flag = _LEFT[why]
    ran = SCRIPT.request({"grpc-encoding": encoding}, framed(sent, compressed=flag))
    assert ran.refusal is None
    assert MODEL_HEADER not in ran.headers
    assert script_says(_IRIS, encoding="gzip") == "iris", "the next one is read"


def test_where_there_is_no_zlib_the_gateway_reads_what_is_compressed() -> None:
    for missing in ('"libz.so.1"', 'require, "ffi"'):
        text = read_scripts().name_grpc
        assert missing in text
        script = Script(text.replace(missing, missing[:-2] + 'nowhere"'))
        sent = framed(gzip.compress(_IRIS), compressed=1)
        assert MODEL_HEADER not in script.request({"grpc-encoding": "gzip"}, sent).headers
        assert script.request({}, framed(_IRIS)).headers[MODEL_HEADER] == b"iris"
