"""``models:/``: models in a registry of MLflow's.

Their files are given out by the tracking server itself, or lie in a store of their own. In that case the source of
that store lists and brings them: with the secret, where it is not the tracking server's. What the server names so may
lead where one of its redirects might (`mlflow_places`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.protocol import (
    Listing,
    Progress,
    Received,
    RemoteFile,
    Source,
    Wanted,
)
from overbook.artifacts.sources.web.connect.zones import Zone
from overbook.artifacts.sources.web.download import Downloader
from overbook.artifacts.sources.web.files import WebFile
from overbook.artifacts.sources.web.mlflow_address import (
    MODELS,
    TYPE,
    Tracking,
    model_address,
    tracking,
)
from overbook.artifacts.sources.web.mlflow_api import PROXY, MlflowApi
from overbook.artifacts.sources.web.mlflow_places import (
    PROXIED,
    path_at,
    require_a_store,
    require_same_server,
    scheme_at,
)
from overbook.artifacts.sources.web.walk import all_files

# Addresses that lead to another address; more than these lead in a circle.
_STEPS: Final = 5
# Between the address of another store, how near it may be, and what its source says about a file.
_IN_STORE: Final = "\n"


class MlflowSource:
    """Models of MLflow. ``other``: the source that is responsible for an address, which may be so near.
    ``environment``: has the MLFLOW_TRACKING_* where no secret of type ``mlflow`` is given.
    """

    def __init__(
        self,
        downloader: Downloader,
        other: Callable[[str, Zone], Source],
        environment: Mapping[str, str],
    ) -> None:
        self._downloader = downloader
        self._other = other
        self._environment = environment

    async def look(self, wanted: Wanted, secret: RemoteSecret | None) -> Listing:
        """What is there now. Raises SourceError."""
        model = model_address(wanted.storage_uri)
        server = tracking(secret, self._environment)
        api = MlflowApi(self._downloader, server)
        # The same name means something else at another server.
        pinned = f"{server.address} {wanted.storage_uri}" if model.pins else ""
        if model.model_id:
            mark, where = model.model_id, await api.logged_model(model.model_id)
        else:
            version = await api.version(model)
            mark, where = version.mark, await api.location(version)
        where = await self._followed(api, server, where)
        if not where.startswith(f"{PROXIED}:"):
            stored = Wanted(where, wanted.version)
            return await self._look_elsewhere(api, stored, _for_store(secret), pinned)
        root = path_at(where)
        what = f"{wanted.storage_uri} at {server.address}"
        found = await all_files(
            what, lambda folder: api.folder(f"{root}/{folder}".rstrip("/")), wanted.version
        )
        return Listing(
            tuple(
                RemoteFile(file.name, file.size, mark, origin=f"{root}/{file.name}")
                for file in found
            ),
            pinned,
        )

    async def bring(
        self,
        wanted: Wanted,
        secret: RemoteSecret | None,
        listing: Listing,
        into: Path,
        progress: Progress,
    ) -> tuple[Received, ...]:
        """All files of the listing. Raises SourceError, OSError."""
        if any(_IN_STORE in file.origin for file in listing.files):
            store, least, _ = listing.files[0].origin.split(_IN_STORE, 2)
            files = (
                replace(file, origin=file.origin.split(_IN_STORE, 2)[2]) for file in listing.files
            )
            return await self._other(store, Zone[least]).bring(
                Wanted(store, wanted.version),
                _for_store(secret),
                replace(listing, files=tuple(files)),
                into,
                progress,
            )
        server = tracking(secret, self._environment)
        api = MlflowApi(self._downloader, server)
        return await self._downloader.bring(
            [
                WebFile(file, api.address_of(file.origin), server.headers, secret=server.secret)
                for file in listing.files
            ],
            into,
            progress,
        )

    async def _look_elsewhere(
        self, api: MlflowApi, wanted: Wanted, secret: RemoteSecret | None, pinned: str
    ) -> Listing:
        where, least = wanted.storage_uri, api.least
        require_a_store(where, api.address, secret)
        found = await self._other(where, least).look(wanted, secret)
        before = _IN_STORE.join((where, least.name, ""))
        files = (replace(file, origin=before + file.origin) for file in found.files)
        return replace(found, files=tuple(files), pinned=pinned)

    async def _followed(self, api: MlflowApi, server: Tracking, where: str) -> str:
        """The address of a store in the end."""
        for _ in range(_STEPS):
            if where.startswith(f"{server.address}{PROXY}/"):
                where = f"{PROXIED}:/{where.removeprefix(f'{server.address}{PROXY}/')}"
            scheme = scheme_at(where, server.address)
            if scheme == PROXIED:
                require_same_server(where, server.address)
                return where
            if scheme == "runs":
                where = await self._of_run(api, where)
            elif where.startswith(MODELS):
                where = await self._of_model(api, where)
            else:
                return where
        raise SourceError(
            Trouble.REFUSED, f"{server.address}: the address of a model's files leads in a circle"
        )

    async def _of_model(self, api: MlflowApi, where: str) -> str:
        model = model_address(where)
        if model.model_id:
            return await api.logged_model(model.model_id)
        return await api.location(await api.version(model))

    async def _of_run(self, api: MlflowApi, where: str) -> str:
        """Where ``runs:/RUN/PATH`` leads: to a model that the run logged by that name, or into the run's files."""
        run, _, path = where.removeprefix("runs:").strip("/").partition("/")
        if path and (logged := await api.model_of_run(run, path)) is not None:
            return logged
        root = await api.run_artifacts(run)
        return f"{root.rstrip('/')}/{path}" if path else root


def _for_store(secret: RemoteSecret | None) -> RemoteSecret | None:
    return None if secret is None or secret.type == TYPE else secret
