"""Answers the scheduler's `ReadLog`: lines of the inference server's log, or those of them that concern one model.

Servers do not say in each line whom it is about. A line with a time or a level at its head begins a record; what
follows belongs to it, such as a traceback, or what a model prints. A record concerns the models that it names.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from typing import Final

from overbook.bounded_log import BoundedLog
from overbook.wire import scheduler_pb2 as pb

_MOST_LINES: Final = 10_000
# MLServer's and most others' time, Triton's letter with a date, and a level alone, as uvicorn has it.
_HEAD: Final = re.compile(
    rb"\d{4}-\d\d-\d\d[ T]|[IWEF]\d{4} |(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b"
)


class Logs:
    """``log``: None where somebody else started the server, and has its log."""

    def __init__(self, log: BoundedLog | None) -> None:
        self._log = log

    async def read(self, asked: pb.ReadLog) -> pb.LogPiece:
        log = self._log
        if log is None:
            return pb.LogPiece(
                id=asked.id,
                error="its inference server was started by somebody else; look at that server's own log",
            )
        if asked.after:
            piece = await asyncio.to_thread(log.after, asked.after)
        else:
            # Which lines are a model's shows only when they are read.
            lines = _MOST_LINES if asked.model else min(asked.lines, _MOST_LINES)
            piece = await asyncio.to_thread(log.last, lines)
        text = piece.data
        if asked.model:
            found = list(concerning(text.splitlines(keepends=True), asked.model))
            text = b"".join(found if asked.after else found[max(0, len(found) - asked.lines) :])
        return pb.LogPiece(
            id=asked.id, text=text, next=piece.next, missed=piece.missed, path=str(log.path)
        )


def concerning(lines: Iterable[bytes], model: str) -> Iterator[bytes]:
    """The lines of all records that name a model."""
    # `iris` is not meant by `iris-2`, nor by `my.iris`; a dot may end a sentence.
    name = re.escape(model.encode())
    named = re.compile(rb"(?<![\w.-])" + name + rb"(?![\w-]|\.\w)")
    record: list[bytes] = []
    for line in lines:
        if _HEAD.match(line):
            yield from _wanted(record, named)
            record = []
        record.append(line)
    yield from _wanted(record, named)


def _wanted(record: list[bytes], named: re.Pattern[bytes]) -> list[bytes]:
    return record if any(named.search(line) for line in record) else []
