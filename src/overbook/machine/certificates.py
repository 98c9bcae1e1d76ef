"""The certificates by which this process is known: read at the start, and followed for as long as it runs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from overbook.tls.files import TlsFiles
from overbook.tls.following import FollowedPair
from overbook.wire.in_process import check_private
from overbook.wire.peers import Peers


@contextlib.asynccontextmanager
async def followed(files: TlsFiles | None) -> AsyncIterator[FollowedPair | None]:
    """None without files. Raises TlsUnusable when they are no good at the start."""
    if files is None:
        yield None
        return
    pair = await asyncio.to_thread(FollowedPair, files, time.time)
    running = asyncio.create_task(pair.run(), name="certificates")
    try:
        yield pair
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@contextlib.asynccontextmanager
async def peered(files: TlsFiles | None, **targets: str) -> AsyncIterator[Peers | None]:
    """How parts know each other; None without files. ``targets``: where others are called, or call, by option.

    Raises TlsUnusable as `followed` does, and NotPrivate where a target needs what there is not.
    """
    async with followed(files) as pair:
        peers = None if pair is None else Peers(pair)
        for option, target in targets.items():
            check_private(target, peers, option=f"--{option}")
        yield peers
