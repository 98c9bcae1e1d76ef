"""Has a file digested while it comes, by a process of its own, which does not outlive this one: the program `arriving`.

In a thread of this process it would run as often as what answers requests, and have others wait for Python's lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from overbook.artifacts.sources.protocol import Progress
from overbook.artifacts.sources.rclone import arriving

_DIGESTS: Final = b"digests "


@asynccontextmanager
async def digesting(
    descriptor: int, size: int, digests: Sequence[str], progress: Progress
) -> AsyncIterator[Callable[[], Awaitable[tuple[str, ...]]]]:
    """The file of this ``descriptor`` is digested while the block runs. Raises OSError where that program cannot run.

    ``size``: bytes that it is to have. ``digests``: hashlib's names. What the block gets says that there will be no
    more bytes, and gives the digests in hex, none where the file stayed shorter; raises OSError.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", arriving.__file__),
        *(str(os.getpid()), str(descriptor), str(size), *digests),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={},
        pass_fds=(descriptor,),
        start_new_session=True,
    )
    following = asyncio.create_task(_follow(process, progress), name="follow the digests")

    async def ended() -> tuple[str, ...]:
        assert process.stdin is not None
        process.stdin.close()
        return await following

    try:
        yield ended
    finally:
        following.cancel()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await asyncio.shield(process.wait())


async def _follow(process: asyncio.subprocess.Process, progress: Progress) -> tuple[str, ...]:
    assert process.stdout is not None
    assert process.stderr is not None
    while line := await process.stdout.readline():
        if line.startswith(_DIGESTS):
            return tuple(line.decode().split()[1:])
        progress(int(line))
    said = (await process.stderr.read()).decode(errors="replace").splitlines()
    if code := await process.wait():
        why = said[-1] if said else "it said nothing"
        raise OSError(f"what digests the file ended with code {code}: {why}")
    return ()
