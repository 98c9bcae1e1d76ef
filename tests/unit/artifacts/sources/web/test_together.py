"""One failure is told, the one that matters most, and nothing is left running."""

from __future__ import annotations

import asyncio

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.web.together import together


async def test_others_end_when_one_fails() -> None:
    ended = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fails() -> None:
        raise SourceError(Trouble.NOT_FOUND, "gone")

    with pytest.raises(SourceError, match="gone"):
        await together([forever(), fails()])
    assert ended.is_set()


async def test_a_failure_that_stays_is_told_rather_than_one_that_passes() -> None:
    async def fails(trouble: Trouble) -> None:
        raise SourceError(trouble, trouble.value)

    with pytest.raises(SourceError, match="not allowed"):
        await together([fails(Trouble.UNREACHABLE), fails(Trouble.NOT_ALLOWED)])
    with pytest.raises(SourceError, match="busy"):
        await together([fails(Trouble.BUSY), fails(Trouble.UNREACHABLE)])
