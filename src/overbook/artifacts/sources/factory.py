"""Who serves which address: one source of each kind, made when the first address asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from overbook.artifacts.address import scheme_of
from overbook.artifacts.archives import Bounds
from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import Source
from overbook.artifacts.sources.rclone.identity import Machine
from overbook.artifacts.sources.rclone.source import RcloneSource
from overbook.artifacts.sources.web.connect.zones import Zone
from overbook.artifacts.sources.web.download import Downloader
from overbook.artifacts.sources.web.http import HttpSource
from overbook.artifacts.sources.web.hub.source import HubSource
from overbook.artifacts.sources.web.mlflow import MlflowSource
from overbook.artifacts.sources.web.registry.source import RegistrySource
from overbook.manifests.problems import shown

_RCLONE: Final = "rclone"
# An address of another kind says what is wanted, and a configuration or a secret says who is asked for it.
_ASKED_BY_ADDRESS: Final = frozenset({"http", "oci"})


class Sources:
    """``limits``: of all of them together. ``machine``: who this one is to sources that no secret is for.

    ``most``: bytes of one artifact, unpacked.
    """

    def __init__(self, limits: FetchLimits, machine: Machine, most: int) -> None:
        self._downloader = Downloader(limits)
        bounds = Bounds(most)
        self._makers: Mapping[str, Callable[[Downloader], Source]] = {
            "http": HttpSource,
            "hf": HubSource,
            "oci": lambda downloader: RegistrySource(downloader, bounds),
            "models": lambda downloader: MlflowSource(downloader, self.of, machine.environment),
            _RCLONE: lambda _: RcloneSource(limits, machine),
        }
        self._made: dict[tuple[str, Zone], Source] = {}

    def of(self, storage_uri: str, least: Zone = Zone.LOOPBACK) -> Source:
        """Raises SourceError for what is no address. ``least``: how near it may be, where a server named it."""
        scheme, _ = scheme_of(storage_uri)
        if scheme == "file":
            raise SourceError(
                Trouble.REFUSED,
                f"{shown(storage_uri)} is a folder of whoever named it; expected an address that can be fetched from",
            )
        kind = "http" if scheme in ("http", "https") else scheme
        kind = kind if kind in self._makers else _RCLONE
        if kind not in _ASKED_BY_ADDRESS:
            least = Zone.LOOPBACK
        if (kind, least) not in self._made:
            self._made[kind, least] = self._makers[kind](self._downloader.within(least))
        return self._made[kind, least]

    async def close(self) -> None:
        """Nothing may be asked afterwards."""
        await self._downloader.close()
