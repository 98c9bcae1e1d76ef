"""Asks an inference server that counts when models will be idle that somebody waits for (see `residency.questions`).

A question is open until nothing of its model is in flight, for a second at most, also when nobody waits any more: to
take it back would cost a connection, and to leave it open costs nothing. What an answer means is the core's to decide.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from overbook.agent.servers.protocol import InferenceServer, ServerUnreachable
from overbook.residency.events import ModelName
from overbook.residency.questions import PassedOn, Question, Questions

_OPEN_SECONDS: Final = 1.0
_RETRY_PAUSE: Final = 0.05


class Inquiries:
    """Of one server replica; `run` owns them. ``told``: a question has ended, and whether its model is idle."""

    def __init__(
        self, server: InferenceServer, passed_on: PassedOn, told: Callable[[ModelName, bool], None]
    ) -> None:
        self._server = server
        self._told = told
        self._questions = Questions(passed_on)
        self._tasks: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Own the questions until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._tasks = None

    def about(self, awaited: Iterable[ModelName]) -> None:
        """Ask about these models, where that is not being done."""
        if self._tasks is None or not self._server.counts_requests:
            return
        for question in self._questions.begin(awaited):
            task = self._tasks.create_task(self._ask(question), name=f"ask about {question.model}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def busy(self, model: ModelName) -> None:
        """A meter saw requests in flight."""
        self._questions.busy(model)

    def abandon(self) -> None:
        """The process is gone. Nothing is told any more of what it was asked."""
        self._questions.void()
        for task in self._running:
            task.cancel()
        self._running.clear()

    async def _ask(self, question: Question) -> None:
        try:
            idle = await self._server.idle(question.model, question.passed, timeout=_OPEN_SECONDS)
        except ServerUnreachable:
            idle = False
            await asyncio.sleep(_RETRY_PAUSE)  # it may be dying, and `abandon` ends this then
        if (
            asyncio.current_task() in self._running
        ):  # else its cancellation was swallowed on the way
            holds = self._questions.answered(question.model)
            self._told(question.model, idle and holds)
