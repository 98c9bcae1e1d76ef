"""Looks at the running Overbook while the traffic runs: control API and metrics, a few times a second."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final

from overbook.client.errors import ClientError
from overbook.client.http import Endpoint, Json, Reply
from overbook.demo.observed import Observed, observe
from overbook.demo.tally import parse_samples

INTERVAL_SECONDS: Final = 0.5
_TIMEOUT_SECONDS: Final = 5.0


class Watcher:
    """`seen` is the latest look; one that failed keeps the one before."""

    def __init__(self, api_url: str) -> None:
        self._endpoint = Endpoint(api_url, setting="--api-port")
        self.seen = Observed()

    async def run(self, until: asyncio.Event) -> None:
        """Look again and again. Ends between two looks: the connection is one look's at a time."""
        while not until.is_set():
            await self.look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL_SECONDS):
                    await until.wait()

    async def look(self) -> Observed:
        """One look now, off the event loop."""
        self.seen = await asyncio.to_thread(self._look)
        return self.seen

    def close(self) -> None:
        self._endpoint.close()

    def _look(self) -> Observed:
        try:
            models = _objects(self._get("/api/v1/models").json())
            servers = _objects(self._get("/api/v1/servers").json())
            samples = parse_samples(self._get("/metrics").body.decode("utf-8", "replace"))
        except (ClientError, ValueError):
            return self.seen
        return observe(models, servers, samples, self.seen)

    def _get(self, path: str) -> Reply:
        reply = self._endpoint.call("GET", path, timeout=_TIMEOUT_SECONDS)
        if reply.status != 200:
            raise ClientError(f"{path} answered {reply.status}: {reply.said()}")
        return reply


def _objects(value: Json) -> Sequence[Mapping[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
