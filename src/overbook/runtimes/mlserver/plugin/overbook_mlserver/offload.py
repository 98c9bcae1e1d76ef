"""Runs a coroutine beside the event loop, in a thread with a loop of its own, and names what went wrong.

A thread for each, not a pool of so many: one that hangs takes nothing from the others. Threads that are
done wait for the next, since starting one takes as long as loading a small model.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from mlserver.errors import MLServerError
from mlserver.logging import logger

from overbook_mlserver import calls

T = TypeVar("T")
_INTERNAL = 500
# Threads that wait for work; the others end.
_KEPT = 4
# Characters of a reason.
_MOST_TOLD = 5000


class LoadFailed(MLServerError):
    """The model could not be loaded; the message is one line with the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, _INTERNAL)


def describe(error: BaseException) -> str:
    """One line that JSON carries: MLServer's own words as they are, anything else with its type."""
    try:
        said = str(error)
    # A model's own class of errors may do anything.
    except Exception:
        said = "it cannot be said what, as its text raises as well"
    text = " ".join(said.encode("utf-8", "replace").decode().split())[:_MOST_TOLD]
    if isinstance(error, MLServerError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


async def in_thread(function: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine in a thread with its own event loop, under this task's context variables."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def work() -> None:
        result, problem = None, None
        try:
            result = context.run(_run, function)
        except Exception as error:
            problem = error
        except BaseException as error:
            # SystemExit and the like must not reach the event loop as what they are.
            problem = LoadFailed(describe(error))
        try:
            loop.call_soon_threadsafe(settle, result, problem)
        except RuntimeError:
            pass  # the server is gone, and so is the one who asked

    _hand_over(work)
    return await done


_Work = Callable[[], None]
_idle: list[SimpleQueue[_Work]] = []


def _hand_over(work: _Work) -> None:
    try:
        desk = _idle.pop()
    except IndexError:
        desk = SimpleQueue()
        threading.Thread(target=_serve, args=(desk,), name="model-load", daemon=True).start()
    desk.put(work)


def _serve(desk: SimpleQueue[_Work]) -> None:
    while True:
        work = desk.get()
        work()
        # What it worked on must not live until the next.
        del work
        if len(_idle) >= _KEPT:
            return
        _idle.append(desk)


def _run(function: Callable[[], Awaitable[T]]) -> T:
    # Not the loop of the policy: uvloop's brings a kernel thread that polls, which cost more than the load.
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(calls.beside(_watched(function)))


async def _watched(function: Callable[[], Awaitable[T]]) -> T:
    result = await function()
    if len(asyncio.all_tasks()) > 1:
        logger.warning(
            "load() left tasks behind, which end with the load; if they must go on, set "
            "parameters.extra.overbook_load_on_loop to true in model-settings.json"
        )
    return result
