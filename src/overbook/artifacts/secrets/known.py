"""All secrets that an agent knows: those that its scheduler told it of, then a folder's, then its environment's.

Kept in memory only. Who uses a secret asks here each time, and is told when one is another than before.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from overbook.artifacts.secrets import environment
from overbook.artifacts.secrets.errors import SecretError
from overbook.artifacts.secrets.folder import SecretFolder
from overbook.artifacts.secrets.remote import RemoteSecret

# Names of secrets that are not what they were.
Changed: TypeAlias = Callable[[frozenset[str]], None]

# How often somebody looks whether a secret in a folder is another one; seconds.
LOOK: Final = 5.0
# At so many is looked again, those that were asked for last.
_REMEMBERED: Final = 1000


@dataclass(frozen=True, slots=True)
class SecretPlaces:
    """Where an agent's machine has secrets. ``folder``: see `SecretFolder`; None where there is none. ``variables``: of
    the environment, see `environment.taken`.
    """

    folder: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)


class Secrets:
    """``changed``: may be called whenever `update` or `look_again` runs."""

    def __init__(self, places: SecretPlaces, changed: Changed) -> None:
        self._folder = None if places.folder is None else SecretFolder(places.folder)
        self._variables = places.variables
        self._changed = changed
        self._told: dict[str, RemoteSecret] = {}
        # What was answered last, or why it could not be understood; None where nobody had it.
        self._answers: dict[str, RemoteSecret | str | None] = {}

    def update(self, told: Iterable[RemoteSecret]) -> None:
        """These are all that the scheduler has."""
        before, self._told = self._told, {each.secret: each for each in told}
        names = before.keys() | self._told.keys()
        changed = {each for each in names if before.get(each) != self._told.get(each)}
        for each in changed:
            self._answers.pop(each, None)
        if changed:
            self._changed(frozenset(changed))

    def find(self, name: str) -> RemoteSecret:
        """The secret of this name, as it is now. May read a small file. Raises SecretError."""
        self._answers.pop(name, None)
        while len(self._answers) >= _REMEMBERED:
            del self._answers[next(iter(self._answers))]
        try:
            answer = self._find(name)
        except SecretError as error:
            self._answers[name] = str(error)
            raise
        self._answers[name] = answer
        if answer is None:
            raise self._unknown(name)
        return answer

    async def watch(self) -> None:
        """Looks again and again at what was asked for; until cancelled."""
        while True:
            await asyncio.sleep(LOOK)
            await self.look_again()

    async def look_again(self) -> None:
        """Tells of each secret that was asked for, and would be answered otherwise now."""
        answers = await asyncio.to_thread(self._answers_now, tuple(self._answers))
        changed = {name for name, now in answers.items() if self._answers.get(name) != now}
        # What was asked for meanwhile has been answered by what is there now.
        self._answers |= {name: answers[name] for name in changed if name in self._answers}
        if changed:
            self._changed(frozenset(changed))

    def _answers_now(self, names: Iterable[str]) -> dict[str, RemoteSecret | str | None]:
        found: dict[str, RemoteSecret | str | None] = {}
        for name in names:
            try:
                found[name] = self._find(name)
            except SecretError as error:
                found[name] = str(error)
        return found

    def _find(self, name: str) -> RemoteSecret | None:
        """Raises SecretError where it cannot be understood."""
        found = self._told.get(name)
        if found is None and self._folder is not None:
            found = self._folder.find(name)
        if found is None:
            found = environment.find(name, self._variables)
        return found

    def _unknown(self, name: str) -> SecretError:
        close = difflib.get_close_matches(name, self._names(), n=1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        root = None if self._folder is None else self._folder.root
        in_folder = "no --secrets folder was given" if root is None else f"{root} has no {name}"
        return SecretError(
            f"secret {name!r} is not known{meant}: `overbook secret list` has none of that name, {in_folder}, and "
            f"{environment.variable(name)} is not set; run `overbook secret set {name} --from FILE`"
        )

    def _names(self) -> set[str]:
        """Of all that there are."""
        in_folder = () if self._folder is None else self._folder.names()
        return {*self._told, *in_folder, *environment.names(self._variables)}
