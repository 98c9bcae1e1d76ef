"""Large request bodies: legal ones whose answers are checked, and ones whose client leaves in the midst of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Final

import numpy as np

from bench.asking import Caller, WrongAnswer, same
from bench.zoo import Exhibit

_HEADER: Final = "inference-header-content-length"
_PIECE: Final = 2**20
_LEAVE_SECONDS: Final = 30.0
_TOLERANCE: Final = 1e-6


async def padded(caller: Caller, exhibit: Exhibit, size: int) -> None:
    """A request of so many bytes that is answered like the model's own: what makes it large, nobody asks for."""
    parameters = exhibit.request.get("parameters", {})
    assert isinstance(parameters, dict)
    body = exhibit.request | {"parameters": {**parameters, "padding": "x" * size}}
    same(exhibit, await caller.post(exhibit.name, json.dumps(body).encode(), {}))


async def many_rows(caller: Caller, exhibit: Exhibit, size: int) -> None:
    """So many bytes of numbers, sent as they are in memory, to a model that answers their sum. Raises WrongAnswer."""
    rows = np.ones((size // 64, 8))
    tensor = {"name": "x", "datatype": "FP64", "shape": [*rows.shape]}
    header = json.dumps(
        {"inputs": [tensor | {"parameters": {"binary_data_size": rows.nbytes}}]}
    ).encode()
    said = await caller.post(exhibit.name, header + rows.tobytes(), {_HEADER: str(len(header))})
    if not isinstance(said, list) or not np.allclose(said, [rows.size], rtol=_TOLERANCE):
        raise WrongAnswer(f"{exhibit.name}: {str(said)[:200]}, expected {rows.size}")


async def unfinished(port: int, model: str, size: int, *, pause: float) -> None:
    """Announces so many bytes, sends half of them, waits some seconds, and is gone."""
    head = (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        f"content-type: application/json\r\ncontent-length: {size}\r\n\r\n"
    )
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        # Who leaves does not care what becomes of it.
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                writer.write(head.encode() + b'{"inputs": [], "id": "')
                for _ in range(size // 2 // _PIECE):
                    writer.write(b"x" * _PIECE)
                    await writer.drain()
                await asyncio.sleep(pause)
    finally:
        writer.transport.abort()
