"""Waiting until models are ready, by asking again whenever something happened.

`state_of` decides on one model's JSON; `wait_for_models` is the loop around it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import click

from overbook.cli.bars import display
from overbook.cli.failures import Failed
from overbook.cli.fetching import Fetch, Seen, fetch_awaited
from overbook.cli.reading import at, condition, name_of, number, replicas, text
from overbook.client.control import ControlClient
from overbook.client.http import JsonObject

# Below this many models are asked for one by one, above it all of them are listed.
_FEW: Final = 8
# A change of status may come without an event: ask again after this many seconds at the latest.
_RECHECK: Final = 1.0
_PAUSE: Final = 0.02
_FAILURES: Final = frozenset({"ModelFailed", "ScheduleFailed"})
# Its owner wants it so: nothing is going to happen.
_SCALED_DOWN: Final = "ModelScaledDown"


def unverified(model: JsonObject) -> str:
    """Why nobody knows whether a model that is ready can be loaded; "" when it was loaded once."""
    found = (text(part.get("unverified")) for part in replicas(model))
    return next((each for each in found if each), "")


def verdict(model: JsonObject, generation: int) -> tuple[bool, str]:
    """Whether a model is ready at that generation or later; if not, the reason for people.

    The reason begins with the condition's own reason, such as `ModelFailed`.
    """
    found = condition(model)
    if (number(at(model, "metadata", "generation")) or 0) < generation:
        return False, "ModelProgressing"
    if found.ready:
        return True, ""
    reason = found.reason or "ModelProgressing"
    return False, f"{reason}: {found.message}" if found.message else reason


@dataclass(frozen=True, slots=True)
class _Found:
    """How a model is: ready, or the ``reason`` why not. ``final``: nothing but a change or a person makes it ready."""

    ready: bool
    reason: str
    final: bool
    doubt: str
    fetch: Fetch | None

    @property
    def scaled_down(self) -> bool:
        return self._is(_SCALED_DOWN)

    def ended(self, applied: bool) -> bool:
        """Whether there is nothing to wait for. ``applied``: just now, so that its owner wants it as it is."""
        return self.ready or (applied and self.scaled_down)

    def broken(self, applied: bool) -> bool:
        """Whether it is in vain to wait."""
        return self.final or self.scaled_down or (applied and self._is(*_FAILURES))

    @property
    def told(self) -> str:
        """How it ended."""
        if not self.ready:
            return "is scaled down to 0 replicas"
        return "ready" + (f", unverified: {self.doubt}" if self.doubt else "")

    @property
    def why(self) -> str:
        """Why it is not ready yet."""
        return self.reason + ("" if self.fetch is None else f"; fetching {self.fetch.told}")

    def _is(self, *reasons: str) -> bool:
        return not self.ready and self.reason.split(":")[0] in reasons


def _look(model: JsonObject, generation: int) -> _Found:
    ready, reason = verdict(model, generation)
    current = (number(at(model, "metadata", "generation")) or 0) >= generation
    final = not ready and current and at(model, "status", "final") is True
    return _Found(ready, reason, final, unverified(model), fetch_awaited(model))


def wait_for_models(
    client: ControlClient,
    generations: Mapping[str, int],
    *,
    timeout: float,
    give_up_on_failure: bool,
) -> None:
    """Prints `model/NAME ready` for each; raises Failed after `timeout` seconds, naming those that are not.

    A model that was given up ends the waiting at once; with `give_up_on_failure` so does every failure. How far
    fetches of their files are is shown meanwhile.
    """
    deadline = time.monotonic() + timeout
    pending = dict(generations)
    last = client.events(after=0).last
    seen = Seen()
    with display() as shown:
        while True:
            asked = time.monotonic()
            models = _current(client, pending)
            found = {name: _look(each, pending[name]) for name, each in models.items()}
            ended = [name for name, each in found.items() if each.ended(give_up_on_failure)]
            if ended:
                shown.hide()
            for name in ended:
                click.echo(f"model/{name} {found[name].told}")
                del pending[name], models[name], found[name]
            if not pending:
                return
            took = time.monotonic() - asked
            broken = {
                name: each.reason for name, each in found.items() if each.broken(give_up_on_failure)
            }
            if broken:
                raise Failed(
                    *(f"Error: model/{name} failed: {why}" for name, why in broken.items())
                )
            seen.see(models)
            left = deadline - time.monotonic()
            if left <= 0:
                waited = f"is not ready after {timeout:g} s"
                raise Failed(
                    *(f"Error: model/{name} {waited}: {each.why}" for name, each in found.items())
                )
            shown.show(seen, asked)
            last = client.events(after=last, wait=min(left, _RECHECK)).last
            # Under a stream of events, asking takes at most half of the time.
            time.sleep(min(left, max(_PAUSE, 2 * took - (time.monotonic() - asked))))


def _current(client: ControlClient, wanted: Mapping[str, int]) -> dict[str, JsonObject]:
    """Those of the wanted models that exist; one that was deleted meanwhile raises NotFound."""
    if len(wanted) <= _FEW:
        return {name: client.get("model", name) for name in wanted}
    models = {name_of(each): each for each in client.list("model")}
    return {name: models[name] if name in models else client.get("model", name) for name in wanted}
