"""Whether everything that `overbook up` was given serves: the answer of `/readyz`, and why not yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from overbook.client.control import ControlClient
from overbook.client.errors import ClientError, NotFound
from overbook.client.http import JsonObject

_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
# Up to so many models are asked for one by one; more are cheaper in one list.
_FEW: Final = 20


class Readiness:
    """``waiting_for``: empty when ready; else what is not, in words."""

    def __init__(self) -> None:
        self.waiting_for = "the gateway is starting"

    def missing(self) -> str | None:
        """None when ready."""
        return self.waiting_for or None

    async def wait(self, client: Callable[[], ControlClient], models: Sequence[str]) -> None:
        """Until every Server and the given models are ready. Once ready stays ready. ``client``: of the control API."""
        missing = list(models)
        pause = _PAUSE
        while True:
            servers, missing = await asyncio.to_thread(_look, client, missing)
            if not servers and not missing:
                self.waiting_for = ""
                return
            parts = [f"server {name}" for name in servers] + [f"model {name}" for name in missing]
            shown = ", ".join(parts[:5])
            more = f" and {len(parts) - 5} more" if len(parts) > 5 else ""
            self.waiting_for = f"not ready: {shown}{more}"
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * (1.0 if len(missing) <= _FEW else 1.5))


def _look(connect: Callable[[], ControlClient], models: list[str]) -> tuple[list[str], list[str]]:
    """Names of the servers and of the given models that are not ready."""
    try:
        with connect() as client:
            servers = [_name(each) for each in client.list("server") if not _is(each, "Ready")]
            if len(models) > _FEW:
                ready = {_name(each) for each in client.list("model") if _settled(each)}
                return servers, [name for name in models if name not in ready]
            return servers, [name for name in models if not _model_ready(client, name)]
    except ClientError:
        return ["(no answer from the control API)"], models


def _model_ready(client: ControlClient, name: str) -> bool:
    try:
        return _settled(client.get("model", name))
    except NotFound:
        return True  # deleted since: nothing to wait for


def _name(thing: JsonObject) -> str:
    metadata = thing.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else ""


def _settled(model: JsonObject) -> bool:
    """Ready, or to be served nowhere."""
    return _is(model, "ModelReady") or _is(model, "ModelReady", ("reason", "ModelScaledDown"))


def _is(thing: JsonObject, condition: str, that: tuple[str, str] = ("status", "True")) -> bool:
    status = thing.get("status")
    conditions = status.get("conditions") if isinstance(status, dict) else None
    if not isinstance(conditions, list):
        return False
    return any(
        isinstance(each, dict) and each.get("type") == condition and each.get(that[0]) == that[1]
        for each in conditions
    )
