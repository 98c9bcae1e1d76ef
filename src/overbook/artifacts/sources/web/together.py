"""Does several things side by side, and tells one failure where there are many."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator

from overbook.artifacts.errors import SourceError


async def together(all_of: Iterable[Coroutine[None, None, None]]) -> None:
    """Ends when all have ended. The first failure ends the others; of those that fail at once, one that no other try
    would end is raised rather than one that passes.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for each in all_of:
                group.create_task(each)
    except BaseExceptionGroup as failures:
        leaves = list(_leaves(failures))
        final = (each for each in leaves if not isinstance(each, SourceError) or not each.passing)
        raise next(final, leaves[0]) from None


def _leaves(failures: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for each in failures.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each
