"""Reads answers of inference servers that may be of any length."""

from __future__ import annotations

import aiohttp


async def read_up_to(reply: aiohttp.ClientResponse, most: int) -> tuple[bytes, bool]:
    """At most so many bytes, and whether that is all. What is beyond them is not waited for."""
    parts: list[bytes] = []
    async for part in reply.content.iter_any():
        parts.append(part[:most])
        if len(part) > most:
            reply.close()
            return b"".join(parts), False
        most -= len(part)
    return b"".join(parts), True
