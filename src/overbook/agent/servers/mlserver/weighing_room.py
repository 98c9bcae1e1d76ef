"""The process in which models are weighed: started when there is one to weigh, ended when there was none for a while.

What it does is written beside the code that runs in it (`overbook_mlserver.weighing`). It costs the memory of the
imported frameworks while it lives, which is why it does not live for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from overbook.agent.servers.launched.descent import MARK, Descent
from overbook.agent.servers.launched.process import PARENT_FD_FLAG, PRIVATE
from overbook.agent.servers.launched.temporary import made_temporary, remove_temporary
from overbook.agent.servers.oip import one_line
from overbook.agent.servers.protocol import ServerStartFailed, WeighingFailed, Weight

# Seconds without anything to weigh, after which the process ends.
IDLE: Final = 20.0
# Seconds that its start may take beyond the limit of a load: it imports frameworks.
_START: Final = 60.0
_LONGEST_LINE: Final = 1 << 20
# Seconds that it is given to end by itself, when it is told to.
_GRACE: Final = 2.0


_Asked: TypeAlias = dict[int, asyncio.Future[Mapping[str, object]]]


class WeighingRoom:
    """``command``, ``environment``, ``folder``: of the process; ``log``: where its standard error goes."""

    def __init__(
        self, *, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path
    ) -> None:
        self._command = tuple(command)
        self._environment = dict(environment)
        self._folder = folder
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._pipe: int | None = None
        self._listening: asyncio.Task[None] | None = None
        self._asked: _Asked = {}  # of the present process
        self._descent = Descent("")
        self._calls = 0  # under way
        self._numbers = itertools.count(1)
        self._starting = asyncio.Lock()
        self._ending: asyncio.TimerHandle | None = None

    async def weigh(
        self,
        name: str,
        settings: Mapping[str, object],
        *,
        timeout: float,
        request: bytes | None = None,
    ) -> tuple[Weight, tuple[str, ...]]:
        """What a load of the model takes, which may last for ``timeout`` seconds, and a ``request`` after it; and what
        was warned of meanwhile.

        Raises WeighingFailed.
        """
        if self._ending is not None:
            self._ending.cancel()
        number = next(self._numbers)
        answer: asyncio.Future[Mapping[str, object]] = asyncio.get_running_loop().create_future()
        self._calls += 1
        asked = None if request is None else json.loads(request)
        call = {"id": number, "name": name, "settings": settings, "seconds": timeout}
        call["request"] = asked
        try:
            async with asyncio.timeout(timeout + _START):
                stdin = await self._running()
                self._asked[number] = answer
                stdin.write(json.dumps(call).encode() + b"\n")
                await stdin.drain()
                found = await answer
                return _weight(found, asked=request is not None), _warned(found)
        except TimeoutError:
            await self.close()
            raise WeighingFailed("the process in which it was weighed did not answer") from None
        except (OSError, ServerStartFailed) as error:
            raise WeighingFailed(f"the process in which models are weighed: {error}") from error
        finally:
            self._asked.pop(number, None)
            self._calls -= 1
            if not self._calls:
                self._ending = asyncio.get_running_loop().call_later(IDLE, self._hang_up)

    async def close(self) -> None:
        """End the process at once. It may be used again afterwards."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        process, listening, self._listening = self._process, self._listening, None
        self._hang_up()
        if process is None or listening is None:
            return
        await asyncio.wait({listening}, timeout=_GRACE)
        if not listening.done():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            # What a model left there may hold what is listened to.
            await asyncio.to_thread(self._descent.end)
            await asyncio.wait({listening})
        await asyncio.to_thread(remove_temporary, self._folder)

    def _hang_up(self) -> None:
        """Its input ends, and so does it."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    async def _running(self) -> asyncio.StreamWriter:
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                self._hang_up()
                self._process = await self._start()
                self._asked = {}
                self._listening = asyncio.create_task(
                    _listen(self._process, self._asked, self._descent), name="weighing room"
                )
            assert self._process.stdin is not None
            return self._process.stdin

    async def _start(self) -> asyncio.subprocess.Process:
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = await asyncio.to_thread(made_temporary, self._folder)
        readable, self._pipe = os.pipe()
        self._descent = Descent.fresh()
        log = os.open(
            self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        try:
            return await asyncio.create_subprocess_exec(
                *self._command,
                PARENT_FD_FLAG,
                str(readable),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                cwd=self._folder,
                env={**self._environment, **temporary, MARK: self._descent.mark},
                pass_fds=(readable,),
                limit=_LONGEST_LINE,
                start_new_session=True,
                umask=PRIVATE,
            )
        finally:
            os.close(readable)
            os.close(log)


async def _listen(process: asyncio.subprocess.Process, asked: _Asked, descent: Descent) -> None:
    """Hand out its answers until it ends."""
    assert process.stdout is not None
    try:
        while line := await process.stdout.readline():
            found = json.loads(line)
            answer = asked.get(int(found["id"]))
            if answer is not None and not answer.done():
                answer.set_result(found)
    finally:
        for answer in asked.values():
            if not answer.done():
                answer.set_exception(WeighingFailed("the process in which it was weighed ended"))
        await process.wait()
        await asyncio.to_thread(descent.end)


def _warned(found: Mapping[str, object]) -> tuple[str, ...]:
    said = found["warned"]
    assert isinstance(said, list)
    return tuple(one_line(str(each)) for each in said)


def _weight(found: Mapping[str, object], *, asked: bool) -> Weight:
    if "error" in found:
        died = bool(found.get("died"))
        raise WeighingFailed(str(found["error"]), died=died, raised=not died)
    kept, peak = found["kept"], found["peak"]
    assert isinstance(kept, int)
    assert isinstance(peak, int)
    return Weight(kept, peak, asked)
