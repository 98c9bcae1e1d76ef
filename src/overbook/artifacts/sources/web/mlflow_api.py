"""Asks a tracking server of MLflow, by its REST API: which model is meant, and where its files are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.web.autoindex import quoted as quoted_path
from overbook.artifacts.sources.web.connect.zones import Zone
from overbook.artifacts.sources.web.download import Downloader, Question
from overbook.artifacts.sources.web.mlflow_address import LATEST, ModelAddress, Tracking
from overbook.artifacts.sources.web.walk import Entry
from overbook.manifests.problems import shown

_API: Final = "/api/2.0/mlflow"
PROXY: Final = "/api/2.0/mlflow-artifacts/artifacts"
_ANSWERS: Final = frozenset({200, 400, 404})
# Models that one run logged, each of which is a question.
_MOST_LOGGED: Final = 100


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a registered model. ``mark``: another one where the number was given away a second time."""

    name: str
    version: str
    mark: str


class MlflowApi:
    """One tracking server. All methods raise SourceError. ``least``: how near addresses may lead that it has named."""

    def __init__(self, downloader: Downloader, server: Tracking) -> None:
        self.least = Zone.LOOPBACK
        self._downloader = downloader
        self._server = server

    @property
    def address(self) -> str:
        return self._server.address

    async def version(self, model: ModelAddress) -> ModelVersion:
        """The version that is meant now."""
        if model.alias:
            what = f"model {model.name} with the alias {model.alias}"
            told = await self._get(
                "/registered-models/alias", {"name": model.name, "alias": model.alias}, what
            )
            found = self._dict(told, "model_version")
        elif model.version == LATEST:
            what = f"version of a model {model.name}"
            told = await self._get(
                "/registered-models/get-latest-versions", {"name": model.name}, what
            )
            versions = _dicts(told, "model_versions")
            if not versions:
                raise self._none(what)
            found = max(versions, key=lambda each: _number(each.get("version")))
        else:
            what = f"version {model.version} of a model {model.name}"
            told = await self._get(
                "/model-versions/get", {"name": model.name, "version": model.version}, what
            )
            found = self._dict(told, "model_version")
        number, status = str(found.get("version", "")), found.get("status", "READY")
        if status == "PENDING_REGISTRATION":
            raise SourceError(
                Trouble.BUSY,
                f"{self._server.address}: version {number} of model {model.name} is still being registered",
            )
        if status != "READY":
            raise SourceError(
                Trouble.NOT_FOUND,
                f"{self._server.address}: version {number} of model {model.name} was not registered: its status is "
                f"{shown(status)}",
            )
        return ModelVersion(model.name, number, f"{number}.{found.get('creation_timestamp', '')}")

    async def location(self, version: ModelVersion) -> str:
        """The address of a version's files."""
        told = await self._get(
            "/model-versions/get-download-uri",
            {"name": version.name, "version": version.version},
            f"version {version.version} of a model {version.name}",
        )
        return self._text(told, "artifact_uri")

    async def logged_model(self, model_id: str) -> str:
        """The address of its files."""
        return self._text(await self._logged(model_id), "artifact_uri")

    async def run_artifacts(self, run_id: str) -> str:
        """The address of the files of a run."""
        run = await self._run(run_id)
        return self._text(self._dict(run, "info"), "artifact_uri")

    async def model_of_run(self, run_id: str, name: str) -> str | None:
        """The address of a model that a run logged by this name; since MLflow 3 it is not among the run's files."""
        outputs = (await self._run(run_id)).get("outputs")
        models = _dicts(outputs, "model_outputs") if isinstance(outputs, dict) else []
        if len(models) > _MOST_LOGGED:
            raise SourceError(
                Trouble.REFUSED,
                f"{self._server.address}: run {run_id} logged more than {_MOST_LOGGED} models; register the model, or "
                "give its address models:/m-ID",
            )
        for each in reversed(models):
            logged = await self._logged(str(each.get("model_id", "")))
            if logged.get("name") == name:
                return self._text(logged, "artifact_uri")
        return None

    async def folder(self, path: str) -> tuple[Entry, ...]:
        """What the server has below ``path`` among the artifacts that it gives out itself."""
        answer = await self._json(f"{PROXY}?{urlencode({'path': path})}", f"artifact {path}")
        entries = []
        for each in _dicts(answer, "files"):
            name = str(each.get("path") or "")
            if name in ("", ".", "..") or "/" in name or "\0" in name:
                raise SourceError(
                    Trouble.REFUSED,
                    f"{self._server.address} lists {shown(name)}, which is no file's name: refused",
                )
            size = each.get("file_size")
            entries.append(
                Entry(name, bool(each.get("is_dir")), None if size is None else _number(size))
            )
        return tuple(entries)

    def address_of(self, path: str) -> str:
        """Where one of these artifacts is."""
        return f"{self._server.address}{PROXY}/{quoted_path(path)}"

    async def _run(self, run_id: str) -> dict[str, Any]:
        return self._dict(await self._get("/runs/get", {"run_id": run_id}, f"run {run_id}"), "run")

    async def _logged(self, model_id: str) -> dict[str, Any]:
        where = f"/logged-models/{quote(model_id, safe='')}"
        told = await self._get(where, {}, f"logged model {model_id}")
        return self._dict(self._dict(told, "model"), "info")

    async def _get(self, path: str, about: Mapping[str, str], what: str) -> dict[str, Any]:
        return await self._json(f"{_API}{path}" + (f"?{urlencode(about)}" if about else ""), what)

    async def _json(self, path: str, what: str) -> dict[str, Any]:
        answer = await self._downloader.ask(
            self._server.address + path,
            self._server.headers,
            Question(answers=_ANSWERS, secret=self._server.secret),
        )
        self.least = max(self.least, answer.least)
        try:
            told = await asyncio.to_thread(answer.json)
        except ValueError:
            told = None
        if not isinstance(told, dict) or (answer.status != 200 and "error_code" not in told):
            raise SourceError(
                Trouble.BAD_ADDRESS,
                f"{self._server.address} does not answer as MLflow does ({answer.status}); expected a tracking server",
            )
        if answer.status != 200:
            raise self._none(what)
        return told

    def _none(self, what: str) -> SourceError:
        return SourceError(Trouble.NOT_FOUND, f"{self._server.address} has no {what}")

    def _dict(self, told: Mapping[str, Any], name: str) -> dict[str, Any]:
        if not isinstance(found := told.get(name), dict):
            raise self._odd(name)
        return found

    def _text(self, told: Mapping[str, Any], name: str) -> str:
        if not isinstance(found := told.get(name), str) or not found:
            raise self._odd(name)
        return found

    def _odd(self, name: str) -> SourceError:
        return SourceError(
            Trouble.BAD_ADDRESS,
            f"{self._server.address}: {name} is missing in its answer; expected a tracking server of MLflow",
        )


def _dicts(told: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Those of a list, and none where there is no list."""
    found = told.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _number(value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        return 0
