"""Looks at what Triton measures, and knows whose series on its page count.

Triton forgets what it counted of a model with the model, but later than it says that the model is unloaded; and a
metric that a Python model made stays when the model's process is killed, and goes on when the model comes back. So a
model's series count from the end of its load to the beginning of its unload, and at both moments they are looked at:
what was there before is not counted again, and what came last is not lost. A look takes about a millisecond.
"""

from __future__ import annotations

from typing import Final, Protocol

from overbook.agent.servers.protocol import Exposition, Lives, ServerError

# Bytes of a page: 100,000 series are 8 MiB.
_MOST: Final = 16 * 1024 * 1024
# Loads and unloads wait for a look.
_ONE_LOOK_SECONDS: Final = 1.0


class Look(Protocol):
    """At most so many bytes of the page, and whether that is all. Raises ServerUnreachable."""

    async def __call__(self, *, most: int, timeout: float) -> tuple[bytes, bool]: ...


class Measured:
    """Of one process. ``lives``: is told when a model's series begin and end to count."""

    def __init__(self, look: Look, lives: Lives) -> None:
        self._look = look
        self._lives = lives
        self._loaded: set[str] = set()
        self._known: set[str] = set()  # all that were loaded since the process began

    async def page(self, *, timeout: float) -> Exposition:
        """Raises ServerUnreachable."""
        loaded = frozenset(self._loaded)
        text, whole = await self._look(most=_MOST, timeout=timeout)
        return Exposition(
            shared=text if whole else text[: text.rfind(b"\n") + 1],
            loaded=loaded,
            known=frozenset(self._known),
            dropped={} if whole else {"": {"flood": 1}},
        )

    async def begin(self, name: str) -> None:
        """It was loaded. In place of one that counts already it goes on with the same series."""
        if name in self._loaded:
            return
        if name in self._known:
            self._lives.began(name, await self._of_one(name))
        self._loaded.add(name)
        self._known.add(name)

    async def end(self, name: str) -> None:
        """It is about to be unloaded."""
        if name in self._loaded:
            self._loaded.discard(name)
            self._lives.ended(name, await self._of_one(name))

    def clear(self) -> None:
        """The process has ended."""
        self._loaded.clear()
        self._known.clear()

    async def _of_one(self, name: str) -> Exposition:
        try:
            text, _ = await self._look(most=_MOST, timeout=_ONE_LOOK_SECONDS)
        except ServerError:
            text = b""
        label = f'model="{name}"'.encode()
        lines = [line for line in text.split(b"\n") if line[:1] == b"#" or label in line]
        return Exposition(shared=b"\n".join(lines), loaded=frozenset((name,)))
