"""The table of calls: what a model's server could not answer is known before anything is loaded."""

from __future__ import annotations

import pytest

from overbook.gateway.oip.surface import (
    MLSERVER,
    REST,
    RPCS,
    TRITON,
    Way,
    how_to_allow,
    unanswerable,
    unanswerable_rpc,
)
from overbook.manifests.specs import ALLOWABLE
from overbook.runtimes.server_kinds import SERVER_KINDS

INFER = "/v2/models/iris/infer"


def test_each_call_stands_once_in_the_table() -> None:
    for calls in (REST, RPCS):
        named = [(call.method, call.path) for call in calls]
        assert len(named) == len(set(named))


def test_what_is_refused_has_a_reason() -> None:
    for call in (*REST, *RPCS):
        assert call.remark or Way.REFUSED not in (call.mlserver, call.triton), call


def test_what_may_be_allowed_says_by_which_word_and_the_kind_of_server_knows_it() -> None:
    for call in (*REST, *RPCS):
        for kind in (MLSERVER, TRITON):
            if call.way(kind) is Way.ALLOWED:
                assert how_to_allow(call.allow) in call.remark, call
                assert call.allow in SERVER_KINDS[kind].allowable, call
        assert call.allow in ("", *ALLOWABLE)
        assert not call.allow or call.allow in call.remark


@pytest.mark.parametrize(
    ("kind", "method", "path"),
    [
        (MLSERVER, "POST", INFER),
        (MLSERVER, "POST", f"{INFER}?x=1"),
        (TRITON, "POST", "/v2/models/iris/versions/2/generate_stream"),
        (MLSERVER, "GET", "/v2/models/iris/docs/dataplane.json"),
        (MLSERVER, "GET", "/v2/models/iris/versions/v1/docs"),
        (MLSERVER, "PUT", "/v2/models/iris/own/path"),
        (MLSERVER, "GET", "/own/path"),
        ("", "GET", "/own/path"),
        ("another", "GET", INFER),
    ],
)
def test_what_may_be_answered_is_not_refused(kind: str, method: str, path: str) -> None:
    assert unanswerable(kind, method, path) is None


@pytest.mark.parametrize(
    ("kind", "method", "path", "says", "allow"),
    [
        (MLSERVER, "GET", INFER, "method GET is not allowed for /v2/models/iris/infer", "POST"),
        (TRITON, "PUT", "/v2/models/iris/versions/1/infer?x", "POST is", "POST"),
        (MLSERVER, "POST", "/v2/models/iris/docs", "GET is", "GET"),
        (TRITON, "POST", "/v2/models/iris/infer_stream", "no such endpoint on Triton", ""),
        (TRITON, "GET", "/v2/models/iris/own", "no such endpoint on Triton", ""),
        (TRITON, "GET", "/own", "no such endpoint on Triton", ""),
        (MLSERVER, "POST", "/v2/models/iris/../wine/infer", "no such endpoint", ""),
        (MLSERVER, "POST", "/v2/models/iris/infer/", "no such endpoint", ""),
        ("", "POST", "/v2/models/iris/./infer", "no such endpoint", ""),
    ],
)
def test_what_cannot_be_answered_says_why(
    kind: str, method: str, path: str, says: str, allow: str
) -> None:
    found = unanswerable(kind, method, path)
    assert found is not None
    assert says in found.reason
    assert found.allow == allow


def test_calls_of_grpc() -> None:
    prefix = "/inference.GRPCInferenceService"
    refused = unanswerable_rpc(MLSERVER, f"{prefix}/ModelConfig")
    assert refused is not None
    assert refused.reason == "MLServer has no call ModelConfig"
    for kind, name in (
        (TRITON, "ModelConfig"),
        (MLSERVER, "ModelInfer"),
        (MLSERVER, "ModelStreamInfer"),
        (MLSERVER, "Unheard"),
        ("", "ModelConfig"),
    ):
        assert unanswerable_rpc(kind, f"{prefix}/{name}") is None
