"""Logging of a process: everything to a file in the state folder, warnings also to the terminal in one line."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path
from types import TracebackType
from typing import Final

from overbook.machine.unexpected import cut, in_a_line, in_full

_MAX_BYTES: Final = 10 * 1024 * 1024
_KEPT: Final = 2
_MESSAGE: Final = 2000


_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class _Bounded(logging.Formatter):
    """All of it, but for what is in exceptions beyond measure."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        record.message = cut(record.message, _MESSAGE)
        return super().formatMessage(record)

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - the library's name
        return in_full(*ei)


class _OneLine(logging.Formatter):
    """A person sees what happened; the traceback is in the file."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{record.levelname.lower()}: {cut(record.getMessage(), _MESSAGE)}"
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {in_a_line(record.exc_info[1])}"
        return " ".join(text.split())


def configure(state_dir: Path, name: str) -> Path:
    """Set up logging for this process; the path of the log file."""
    path = state_dir / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    to_file = logging.handlers.RotatingFileHandler(path, maxBytes=_MAX_BYTES, backupCount=_KEPT)
    to_file.setFormatter(_Bounded("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    to_terminal = logging.StreamHandler()
    to_terminal.setLevel(logging.WARNING)
    to_terminal.setFormatter(_OneLine())
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    root.handlers[:] = [to_file, to_terminal]
    for chatty in ("aiohttp", "uvicorn.access", "grpc", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return path
