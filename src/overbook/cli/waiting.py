"""Waiting until models are ready, by asking again whenever something happened.

`state_of` decides on one model's JSON; `wait_for_models` is the loop around it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import click

from overbook.cli.failures import Failed
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


def _given_up(model: JsonObject, generation: int) -> bool:
    """Whether nothing but a change or a person makes it ready."""
    current = (number(at(model, "metadata", "generation")) or 0) >= generation
    return current and at(model, "status", "final") is True


def wait_for_models(
    client: ControlClient,
    generations: Mapping[str, int],
    *,
    timeout: float,
    give_up_on_failure: bool,
) -> None:
    """Prints `model/NAME ready` for each; raises Failed after `timeout` seconds, naming those that are not.

    A model that was given up ends the waiting at once; with `give_up_on_failure` so does every failure.
    """
    deadline = time.monotonic() + timeout
    pending = dict(generations)
    last = client.events(after=0).last
    while True:
        asked = time.monotonic()
        reasons: dict[str, str] = {}
        broken: dict[str, str] = {}
        for name, model in _current(client, pending).items():
            ready, reason = verdict(model, pending[name])
            if ready:
                doubt = unverified(model)
                click.echo(f"model/{name} ready" + (f", unverified: {doubt}" if doubt else ""))
                del pending[name]
            else:
                reasons[name] = reason
                if give_up_on_failure and reason.split(":")[0] == _SCALED_DOWN:
                    click.echo(f"model/{name} is scaled down to 0 replicas")
                    del pending[name], reasons[name]
                    continue
                failed = give_up_on_failure and reason.split(":")[0] in _FAILURES
                given_up = reason.split(":")[0] == _SCALED_DOWN or _given_up(model, pending[name])
                if failed or given_up:
                    broken[name] = reason
        if not pending:
            return
        took = time.monotonic() - asked
        if broken:
            raise Failed(*(f"Error: model/{name} failed: {why}" for name, why in broken.items()))
        left = deadline - time.monotonic()
        if left <= 0:
            waited = f"is not ready after {timeout:g} s"
            raise Failed(*(f"Error: model/{name} {waited}: {why}" for name, why in reasons.items()))
        last = client.events(after=last, wait=min(left, _RECHECK)).last
        # Under a stream of events, asking takes at most half of the time.
        time.sleep(min(left, max(_PAUSE, 2 * took - (time.monotonic() - asked))))


def _current(client: ControlClient, wanted: Mapping[str, int]) -> dict[str, JsonObject]:
    """Those of the wanted models that exist; one that was deleted meanwhile raises NotFound."""
    if len(wanted) <= _FEW:
        return {name: client.get("model", name) for name in wanted}
    models = {name_of(each): each for each in client.list("model")}
    return {name: models[name] if name in models else client.get("model", name) for name in wanted}
