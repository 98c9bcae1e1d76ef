"""Which settings a call changes; who is told of them is `tests/integration/test_oip_allowed.py`'s."""

from __future__ import annotations

import pytest
from tritonclient.grpc import service_pb2 as pb

from overbook.gateway.oip.asking import OverGrpc, OverRest, Question
from overbook.gateway.oip.errors import BadRequest
from overbook.gateway.oip.passed_on import Asked, changes
from overbook.gateway.oip.surface import REST, RPCS, Call


def call(path: str, method: str = "") -> Call:
    (found,) = (
        each
        for each in (*REST, *RPCS)
        if each.path.endswith(path) and method in ("", each.method) and "MODEL" not in each.path
    )
    return found


TRACE, LOG = call("/TraceSetting"), call("/LogSettings")


def trace(**settings: list[str]) -> bytes:
    message = pb.TraceSettingRequest()
    for name, values in settings.items():
        message.settings[name].value.extend(values)
    return bytes(message.SerializeToString())


def log(**settings: object) -> bytes:
    message = pb.LogSettingsRequest()
    for name, value in settings.items():
        kind = {bool: "bool_param", int: "uint32_param", str: "string_param"}[type(value)]
        setattr(message.settings[name], kind, value)
    return bytes(message.SerializeToString())


@pytest.mark.parametrize(
    ("of", "question", "changed"),
    [
        (TRACE, OverGrpc("", trace()), {}),
        (
            TRACE,
            OverGrpc("", trace(trace_level=["A", "B"], trace_rate=["5"], trace_count=[])),
            {"trace_level": ["A", "B"], "trace_rate": "5", "trace_count": None},
        ),
        (
            LOG,
            OverGrpc("", log(log_info=False, log_verbose_level=2, log_format="x")),
            {"log_info": False, "log_verbose_level": 2, "log_format": "x"},
        ),
        (call("/v2/logging", "GET"), OverRest("GET", "", b'{"a": 1}'), {}),
        (call("/v2/logging", "POST"), OverRest("POST", "", b'{"a": 1}'), {"a": 1}),
        (call("/v2/logging", "POST"), OverRest("POST", "", b"{"), {}),
        (call("/v2/logging", "POST"), OverRest("POST", "", b"[1]"), {}),
        (call("/v2/logging", "POST"), OverRest("POST", "", b"[" * 50_000), {}),
    ],
)
def test_both_protocols_tell_the_same(
    of: Call, question: Question, changed: dict[str, object]
) -> None:
    assert changes(Asked(of, question)) == changed


@pytest.mark.parametrize("of", [TRACE, LOG])
def test_a_message_that_is_none_is_refused(of: Call) -> None:
    with pytest.raises(BadRequest, match="message: not one of"):
        changes(Asked(of, OverGrpc(of.path, b"\x0a\x7f")))
