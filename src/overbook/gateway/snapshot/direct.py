"""Pure: the routes of clients' listener that lead nowhere, as plain JSON-like documents: Envoy answers at once."""

from __future__ import annotations

from overbook.gateway.snapshot.names import SELDON_HEADER
from overbook.manifests.problems import Json


def odd_host() -> Json:
    """Over HTTP/1.1 it may be anything, or empty; then what speaks HTTP/2 behind this would hang up on the request."""
    named: Json = {"safe_regex": {"regex": r"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]+"}}
    text = "host: no name or address of a server; expected NAME or NAME:PORT"
    return {
        "match": {
            "prefix": "/",
            "headers": [{"name": ":authority", "string_match": named, "invert_match": True}],
        },
        "direct_response": {"status": 400, "body": {"inline_string": text}},
    }


def nothing_here() -> Json:
    """What no other route is for."""
    text = (
        "path: unknown; expected /v2/... or a call of inference.GRPCInferenceService; for a path that a model "
        f"defines for itself the header {SELDON_HEADER} names the model"
    )
    return {
        "match": {"prefix": "/"},
        "direct_response": {"status": 404, "body": {"inline_string": text}},
    }
