"""The boundary behind which artifacts are looked at: whatever that raises is the failure of the one model.

Files were made by somebody else, by mistake or to do harm, and what reads them may raise anything: also what nobody
thought of. Here it becomes `ModelRejected`, one line for people, with the traceback in the log. What is
declared (`ArtifactError`, `ServerError`) passes as it is, and so does cancellation. No judgement of files may live
here: that is the adapters' and the readers'.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from overbook.agent.servers.protocol import ModelRejected, ServerError
from overbook.artifacts.errors import ArtifactError

log = logging.getLogger(__name__)

T = TypeVar("T")

# Seconds that a look may take. The readers have bounds of their own, so only a disk that hangs takes as long.
LONGEST: Final = 60.0
# Characters of a message for people.
MOST_TOLD: Final = 2000
# These come from the machine as well as from files, and may be gone at the next look.
_PASSING: Final = (OSError, MemoryError)


@contextmanager
def failing_alone(model: str, where: str) -> Iterator[None]:
    """Whatever is raised inside fails this ``model`` alone. ``where``: what was looked at, for the message.

    Raises ModelRejected, and what is declared.
    """
    try:
        yield
    except (ArtifactError, ServerError):
        raise
    except Exception as error:
        log.exception("model '%s': looking at %s raised", model, where)
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise ModelRejected(
            told(
                f"model {model}: {where} cannot be understood ({said}); expected files as the library writes them: "
                "save the model again and apply it. The agent's log has more"
            ),
            passing=isinstance(error, _PASSING),
        ) from error


async def looked(model: str, where: str, look: Callable[[], T], *, longest: float = LONGEST) -> T:
    """What ``look`` returns, which reads files: in a thread, so that nobody else waits for it.

    Raises ModelRejected, and what is declared; also after ``longest`` seconds, when the thread is left to itself.
    """
    with failing_alone(model, where):
        try:
            async with asyncio.timeout(longest):
                return await asyncio.to_thread(look)
        except TimeoutError as error:
            raise ModelRejected(
                f"model {model}: looking at {where} did not end within {longest:g} s; "
                "check the disk that holds the agent's state folder",
                passing=True,
            ) from error


def told(text: str) -> str:
    """One line that every protocol carries: what is no text becomes `?`, and what is long is cut."""
    line = " ".join(text.encode("utf-8", "replace").decode().replace("\0", "?").split())
    return line if len(line) <= MOST_TOLD else line[: MOST_TOLD - 1] + "…"
