"""Follows the files of a pair while it is in use: what is new and good is taken, what is not leaves the old one in use.

Files are looked at, not watched: that sees a new file, another link (as Kubernetes changes what it mounts) and a file
system of another machine alike. What is done with a new pair is its users' business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from overbook.tls.files import TlsFiles
from overbook.tls.pair import Pair, TlsUnusable, day, read_pair

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0

_State: TypeAlias = tuple[tuple[int, int, int] | None, ...]


class FollowedPair:
    """The pair in use. ``now``: Unix seconds. Reads the files at once: raises TlsUnusable.

    Certificate and key are two files, replaced one after the other. So what does not fit is told only when it is still
    so at the next look.
    """

    def __init__(self, files: TlsFiles, now: Callable[[], float]) -> None:
        self._files = files
        self._now = now
        # The files as they were when they were last good, when they were found bad, and when people were told of it.
        self._taken = self._state()
        self._doubted: _State | None = None
        self._told_bad: _State | None = None
        # What was told of its end: nothing, that it comes near, or that it is there.
        self._told_end = 0
        self._users: list[Callable[[Pair], None]] = []
        self.current = read_pair(files, now())

    def on_change(self, use: Callable[[Pair], None]) -> None:
        """``use``: is given each new pair, in the event loop of `run`."""
        self._users.append(use)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if await asyncio.to_thread(self.look):
                self.hand_on()

    def hand_on(self) -> None:
        """Give what is in use to all that use it."""
        for use in self._users:
            try:
                use(self.current)
            except Exception:
                # The next one may be taken, and others took this one.
                log.exception("certificate %s: it could not be put in use", self._files.certificate)

    def look(self) -> bool:
        """Whether there is a new pair, which is in use from now on. Blocking."""
        state = self._state()
        if state == self._taken:
            self._tell_end()
            return False
        try:
            found = read_pair(self._files, self._now())
        except TlsUnusable as error:
            # It is read again at each look: its time may come, or somebody may let us read it.
            if state != self._doubted:
                self._doubted = state
            elif state != self._told_bad:
                self._told_bad = state
                log.warning("%s; what was there before stays in use", error)
            self._tell_end()
            return False
        self._taken, self._doubted, self._told_bad, self._told_end = state, None, None, 0
        if found == self.current:
            return False
        self.current = found
        log.info(
            "certificate %s: a new one is in use, until %s",
            self._files.certificate,
            day(found.ends),
        )
        return True

    def _tell_end(self) -> None:
        pair, now = self.current, self._now()
        if now >= pair.ends and self._told_end < 2:
            self._told_end = 2
            self._tell("it expired on %s, and clients refuse it", pair.ends)
        elif now >= pair.late and self._told_end < 1:
            self._told_end = 1
            self._tell("it expires on %s, and then clients refuse it", pair.ends)

    def _tell(self, what: str, end: float) -> None:
        log.warning(
            f"certificate %s: {what}; put a new one there, which is then in use by itself",
            self._files.certificate,
            day(end),
        )

    def _state(self) -> _State:
        return tuple(map(_stamp, self._files.paths))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Tells whether there may be something else there than before; None: nothing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
