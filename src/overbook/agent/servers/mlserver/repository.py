"""Loads, unloads and waits for a model's last request over REST, at the port where our MLServer does such calls at once
(see `repository_calls` there).

No retries here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from overbook.agent.servers.bounded import read_up_to
from overbook.agent.servers.oip import one_line
from overbook.agent.servers.protocol import Exposition, ModelRejected, ServerUnreachable
from overbook.wire.http_clients import http_session

# For which a request that was let through and has not arrived is waited for.
_MISSING_SECONDS: Final = 1.0
# That an answer may take longer, because a prediction holds up the server's event loop.
_ANSWER_SECONDS: Final = 10.0
# Bytes of what all models measure.
_MOST_METRICS: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Done:
    """What a load or an unload answered. ``warned``: of the model, meanwhile. ``gave``: bytes that came back, if known.
    ``said``: what went wrong with a model that has left all the same. ``left``: what the one that left had counted.
    """

    warned: tuple[str, ...] = ()
    gave: int | None = None
    said: str = ""
    left: Exposition | None = None


class RestRepository:
    """``address``: of its `infer`. Make it inside the event loop that uses it; `close` it when done with it."""

    def __init__(self, address: str) -> None:
        self._address = address
        # A load takes long and any number may run: no bound here.
        self._http = http_session(address, limit=0)

    async def close(self) -> None:
        await self._http.close()

    async def load(self, name: str, settings: Mapping[str, object], *, timeout: float) -> Done:
        """``settings``: the model's, as MLServer takes them. Raises ModelRejected with its words, ServerUnreachable."""
        status, text = await self._call(name, "load", timeout, settings)
        if status != HTTPStatus.OK:
            raise ModelRejected(_reason(status, text))
        return _done(name, text)

    async def unload(self, name: str, *, timeout: float, measure: bool = False) -> Done:
        """``measure``: the bytes that come back. Raises ServerUnreachable, ModelRejected."""
        body = {"measure": True} if measure else None
        status, text = await self._call(name, "unload", timeout, body)
        if status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            raise ModelRejected(_reason(status, text))
        return _done(name, text) if status == HTTPStatus.OK else Done()

    async def metrics(self, *, timeout: float) -> Exposition:
        """What the models that are loaded measure. Raises ServerUnreachable."""
        url = "/v2/repository/metrics"
        try:
            async with self._http.post(url, timeout=aiohttp.ClientTimeout(timeout)) as reply:
                text, _ = await read_up_to(reply, _MOST_METRICS)
            return exposition(json.loads(text)["models"])
        except (TimeoutError, aiohttp.ClientError, ValueError, LookupError) as error:
            said = f"{type(error).__name__}: {one_line(str(error))}"
            raise ServerUnreachable(f"metrics at {self._address}: {said}") from error

    async def settle(self, name: str, passed: Mapping[str, int], *, timeout: float) -> None:
        """Until nothing of the model is in flight there. Raises ServerUnreachable, ModelRejected."""
        body = {"passed": dict(passed), "seconds": _MISSING_SECONDS}
        status, text = await self._call(name, "settle", timeout, body)
        if status != HTTPStatus.OK:
            raise ModelRejected(_reason(status, text))

    async def idle(self, name: str, passed: Mapping[str, int], *, timeout: float) -> bool:
        """Whether nothing of the model is in flight there, as soon as it is so; False after ``timeout`` seconds.

        Raises ServerUnreachable, ModelRejected.
        """
        body = {"passed": dict(passed), "seconds": timeout}
        status, text = await self._call(name, "idle", timeout + _ANSWER_SECONDS, body)
        if status != HTTPStatus.OK:
            raise ModelRejected(_reason(status, text))
        return text == "true"

    async def sample(self, name: str, *, timeout: float) -> bytes | None:
        """The first request that the model got; None when the server has none, or does not say in time."""
        return await self._text(f"models/{name}/sample", timeout) or None

    async def grown(self, name: str, *, timeout: float) -> int | None:
        """Bytes that the model allocated since its load; None when the server does not say, or not in time."""
        return await self._number(f"models/{name}/grown", timeout)

    async def bodies(self, *, timeout: float) -> int:
        """Bytes of the bodies of requests that are being answered; 0 when the server does not say in time."""
        return await self._number("bodies", timeout) or 0

    async def _number(self, what: str, timeout: float) -> int | None:
        text = await self._text(what, timeout)
        return int(text) if text.isdigit() else None

    async def _text(self, what: str, timeout: float) -> bytes:
        url = f"/v2/repository/{what}"
        try:
            async with self._http.post(url, timeout=aiohttp.ClientTimeout(timeout)) as reply:
                return await reply.read() if reply.status == HTTPStatus.OK else b""
        except (TimeoutError, aiohttp.ClientError):
            return b""

    async def _call(
        self, name: str, action: str, timeout: float, body: Mapping[str, object] | None = None
    ) -> tuple[int, str]:
        url = f"/v2/repository/models/{name}/{action}"
        try:
            async with self._http.post(
                url, json=body, timeout=aiohttp.ClientTimeout(timeout)
            ) as reply:
                return reply.status, await reply.text()
        except TimeoutError as error:
            raise ServerUnreachable(f"{name}: no answer within {timeout:g} s") from error
        except aiohttp.ClientError as error:
            said = f"{type(error).__name__}: {one_line(str(error))}"
            raise ServerUnreachable(f"{name}: {action} at {self._address}: {said}") from error


def exposition(models: Mapping[str, Mapping[str, Any]]) -> Exposition:
    """As `overbook_mlserver.books` writes it."""
    return Exposition(
        models={name: shown["text"].encode() for name, shown in models.items()},
        dropped={name: shown["dropped"] for name, shown in models.items() if shown["dropped"]},
    )


def _done(name: str, text: str) -> Done:
    found = json.loads(text) if text else {}
    return Done(
        warned=tuple(map(one_line, found.get("warned", ()))),
        gave=found.get("gave"),
        said=one_line(found.get("said", "")),
        left=exposition({name: found["left"]}) if "left" in found else None,
    )


def _reason(status: int, text: str) -> str:
    try:
        said = json.loads(text)["error"]
    except (ValueError, LookupError, TypeError):
        said = text
    return one_line(str(said)) or f"HTTP {status}, no reason given"
