"""Reads the body of a call over REST that the gateway answers itself, as far as such a body may be long."""

from __future__ import annotations

from starlette.requests import Request

from overbook.gateway.oip.errors import BadRequest
from overbook.wire.limits import MAX_OWN_BODY


async def own_body(request: Request, expected: str) -> bytes:
    """Raises BadRequest for one of more than MAX_OWN_BODY bytes, which says what was ``expected``."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_OWN_BODY:
            raise BadRequest(f"body is larger than {MAX_OWN_BODY} bytes; expected {expected}")
    return bytes(body)
