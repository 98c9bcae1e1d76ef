"""Pure: what Envoy itself answers, as plain JSON-like documents: in OIP form over REST, as the message over gRPC.

Each refusal says what was too much and what is accepted, or what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from overbook.access.refusals import REQUESTS_PER_SECOND
from overbook.gateway.snapshot import names
from overbook.gateway.snapshot.edge import STALLED_SECONDS, EdgeLimits
from overbook.gateway.snapshot.route_parts import Json
from overbook.gateway.snapshot.token_rates import RATE
from overbook.wire.limits import MAX_BODY, MAX_HEAD, MAX_HEADERS

# Said where Envoy could not ask the gateway, or got no answer that it understands.
_LOST: Final = (
    "the inference server ended or hung up while it had this request, which was not begun again, "
    "as it may be the cause; send it again if it is not"
)
_NOT_ASKED: Final = (
    "gateway: it could not be asked about this request, perhaps because too many came at once; "
    "try again"
)
_FULL: Final = (
    "gateway: large bodies take all the memory that it has for them; send this one again later"
)
_NOT_HTTP: Final = "request: not valid HTTP (%RESPONSE_CODE_DETAILS%)"
_RETRY: Final = "retry-after"
# Of gRPC: where Envoy's own choice is UNKNOWN.
_DEADLINE_EXCEEDED, _RESOURCE_EXHAUSTED = "4", "8"


def local_replies(listener: str, limits: EdgeLimits | None = None) -> Json:
    """Of this listener. ``limits``: of that for clients."""
    mappers: list[Json] = [
        *_said(
            [status(413)],
            f"message: too large, at most {MAX_BODY} bytes are accepted",
            grpc_status=_RESOURCE_EXHAUSTED,
            over_rest=False,
        ),
        *_said([status(503), _flags("UC", "UR")], _LOST),
        *_said([status(503), _flags("UAEX")], _NOT_ASKED, retry=True),
    ]
    if limits is not None:
        mappers += _of_clients(limits)
    if listener == names.LARGE_LISTENER:
        mappers += _of_large_bodies()
    if listener == names.COLD_LISTENER:
        # What the activation service refuses, with a text of its own.
        mappers += [
            {
                "filter": every(status(names.REFUSED_STATUS), is_grpc(False)),
                "status_code": 503,
                "body_format_override": _AS_JSON,
            }
        ]
    return {"mappers": [*mappers, {"filter": is_grpc(False), "body_format_override": _AS_JSON}]}


def _of_clients(limits: EdgeLimits) -> list[Json]:
    late = (
        f"request: not whole within {limits.request_seconds} s, or its headers not within "
        f"{limits.head_seconds} s"
    )
    head = f"headers: too large, at most {MAX_HEAD} bytes and {MAX_HEADERS} headers are accepted"
    return [
        *_said([status(408)], late, grpc_status=_DEADLINE_EXCEEDED),
        *_said([status(431)], head, grpc_status=_RESOURCE_EXHAUSTED),
        # Of what came over gRPC our script says what is wrong.
        {
            "filter": every(status(400), is_grpc(False)),
            "body_format_override": {"json_format": {"error": _NOT_HTTP}},
        },
        *_of_tokens(),
        *_said(
            [status(429)],
            f"gateway: more than {limits.rate} requests per second; send this one again later",
            retry=True,
        ),
    ]


def _of_tokens() -> list[Json]:
    """To who made too many requests per second with a token."""
    namespace, key = RATE
    text = f"authorization: %DYNAMIC_METADATA({namespace}:{key})% {REQUESTS_PER_SECOND}"
    has_rate: Json = {
        "metadata_filter": {
            "matcher": {
                "filter": namespace,
                "path": [{"key": key}],
                "value": {"present_match": True},
            },
            "match_if_key_not_found": False,
        }
    }
    later = _adding([_header(_RETRY, "1")])
    grpc: Json = {"text_format_source": {"inline_string": text}}
    rest: Json = {"json_format": {"error": text}}
    return [
        {
            "filter": every(status(429), has_rate, is_grpc(wanted)),
            **later,
            "body_format_override": form,
        }
        for wanted, form in ((True, grpc), (False, rest))
    ]


def _of_large_bodies() -> list[Json]:
    stalled = (
        f"request body: nothing came for {STALLED_SECONDS} s or more while large bodies took all the memory "
        "that the gateway has for them; send it again later"
    )
    return [
        # The gateway said so of what it becomes when it is inflated, in its own words.
        {
            "filter": every(status(413), _flags("UAEX"), is_grpc(False)),
            "body_format_override": _AS_JSON,
        },
        *_said([status(413)], f"request body: too large, at most {MAX_BODY} bytes are accepted"),
        *_said([status(408)], stalled, retry=True),
        # What could not be passed on is told as everywhere; what is not let in bears no flag, or OM.
        {
            "filter": every(status(503), _flags("UF", "UH", "UO", "URX", "LR"), is_grpc(False)),
            "body_format_override": _AS_JSON,
        },
        *_said([status(503)], _FULL, retry=True),
        # As the codec says it where it gives up in the middle of a body.
        *_said([status(500)], _FULL, retry=True, instead=503),
    ]


_AS_JSON: Final[Json] = {"json_format": {"error": "%LOCAL_REPLY_BODY%"}}


def _said(
    filters: Sequence[Json],
    text: str,
    *,
    grpc_status: str = "",
    retry: bool = False,
    instead: int = 0,
    over_rest: bool = True,
) -> list[Json]:
    """This text for replies that all filters match, over gRPC and over REST. ``instead``: of their HTTP status."""
    more = [_header(_RETRY, "1")] if retry else []
    code = [_header("grpc-status", grpc_status)] if grpc_status else []
    body: dict[str, Json] = {"body": {"inline_string": text}}
    if instead:
        body["status_code"] = instead
    grpc: Json = {"filter": every(*filters, is_grpc(True)), **_adding([*code, *more]), **body}
    rest: Json = {
        "filter": every(*filters, is_grpc(False)),
        **_adding(more),
        **body,
        "body_format_override": _AS_JSON,
    }
    return [grpc, rest] if over_rest else [grpc]


def _adding(headers: list[Json]) -> dict[str, Json]:
    return {"headers_to_add": [*headers]} if headers else {}


def _flags(*flags: str) -> Json:
    return {"response_flag_filter": {"flags": [*flags]}}


def every(*filters: Json) -> Json:
    """What all filters match."""
    return {"and_filter": {"filters": [*filters]}}


def _header(name: str, value: str) -> Json:
    return {
        "header": {"key": name, "value": value},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def status(code: int, comparing: str = "EQ") -> Json:
    """Answers whose HTTP status compares so with this one."""
    comparison: Json = {
        "op": comparing,
        "value": {"default_value": code, "runtime_key": "unused"},
    }
    return {"status_code_filter": {"comparison": comparison}}


def is_grpc(wanted: bool) -> Json:
    """Requests that are calls of gRPC, or that are none."""
    return {
        "header_filter": {
            "header": {
                "name": "content-type",
                "string_match": {"prefix": "application/grpc"},
                "invert_match": not wanted,
                "treat_missing_header_as_empty": True,
            }
        }
    }
