"""What addresses of MLflow mean, and what a secret of type ``mlflow`` says. Pure.

``models:/NAME/VERSION``, ``models:/NAME/latest``, ``models:/NAME@ALIAS`` and ``models:/m-ID`` name models. Where their
files are the server tells by one more address: ``runs:/RUN/PATH``, ``mlflow-artifacts:/PATH``, or a store's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.web.connect.addresses import checked
from overbook.artifacts.sources.web.http_secret import bad, basic, bearer
from overbook.manifests.problems import shown as quoted

TYPE: Final = "mlflow"
MODELS: Final = "models:/"
LATEST: Final = "latest"
_KNOWN: Final = ("password", "token", "tracking_uri", "username")
_FORMS: Final = "models:/NAME/VERSION, models:/NAME/latest or models:/NAME@ALIAS"
_ENVIRONMENT: Final = "MLFLOW_TRACKING_"
# Of a logged model of MLflow 3.
_MODEL_ID: Final = re.compile(r"m-[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class ModelAddress:
    """One of: ``model_id`` of a logged model; or of the model ``name`` a ``version`` (a number, or "latest"), or an
    ``alias``.
    """

    name: str = ""
    version: str = ""
    alias: str = ""
    model_id: str = ""

    @property
    def pins(self) -> bool:
        """Whether it names the same content for all time."""
        return bool(self.model_id) or self.version.isdigit()


@dataclass(frozen=True, slots=True)
class Tracking:
    """A tracking server: its ``address`` without a slash at the end, ``headers`` for it, ``secret``: what people call
    the one that they were made of, "" for none.
    """

    address: str
    headers: Mapping[str, str] = field(repr=False)
    secret: str


def model_address(storage_uri: str) -> ModelAddress:
    """Raises SourceError, BAD_ADDRESS."""
    match storage_uri.removeprefix(MODELS).split("/"):
        case [model_id] if _MODEL_ID.fullmatch(model_id):
            return ModelAddress(model_id=model_id)
        case [text] if "@" in text:
            name, _, alias = text.rpartition("@")
            if name and alias:
                return ModelAddress(name, alias=alias)
        case [name, version] if name and "@" not in version:
            if version.isascii() and version.isdigit():
                return ModelAddress(name, version)
            if version.lower() == LATEST:
                return ModelAddress(name, LATEST)
            raise SourceError(
                Trouble.BAD_ADDRESS,
                f"{quoted(storage_uri)}: {quoted(version)} is no version, and stages of MLflow are not supported; "
                f"expected {_FORMS}",
            )
    raise SourceError(
        Trouble.BAD_ADDRESS, f"{quoted(storage_uri)} names no model of MLflow's; expected {_FORMS}"
    )


def tracking(secret: RemoteSecret | None, environment: Mapping[str, str]) -> Tracking:
    """The server to ask. A secret of another type is not for it: then the environment tells. Raises SourceError."""
    if secret is not None and secret.type == TYPE:
        given = {name: value for name, value in secret.parameters.items() if value}
        if unknown := sorted(set(given) - set(_KNOWN)):
            raise bad(
                secret,
                f"no parameter {quoted(unknown[0])} is known; expected some of {', '.join(_KNOWN)}",
            )
        if "tracking_uri" not in given:
            raise bad(secret, "tracking_uri is missing; expected http(s)://HOST[:PORT]")
        return Tracking(_address(given["tracking_uri"]), _headers(secret, given), secret.secret)
    given = {
        name: environment.get(f"{_ENVIRONMENT}{name.removeprefix('tracking_').upper()}", "")
        for name in _KNOWN
    }
    if not given["tracking_uri"]:
        raise SourceError(
            Trouble.BAD_ADDRESS,
            "models:/ needs to know the tracking server of MLflow; give a secret of type mlflow with tracking_uri, or "
            "set MLFLOW_TRACKING_URI",
        )
    its = RemoteSecret("the environment (MLFLOW_TRACKING_*)", "", TYPE, given)
    headers = _headers(its, {name: value for name, value in given.items() if value})
    return Tracking(_address(given["tracking_uri"]), headers, "" if not headers else its.secret)


def _address(text: str) -> str:
    url = checked(text)
    return str(url.with_query(None).with_fragment(None)).rstrip("/")


def _headers(secret: RemoteSecret, given: Mapping[str, str]) -> Mapping[str, str]:
    # As MLflow's own client has it: a user comes before a token.
    if "username" in given or "password" in given:
        return {"Authorization": basic(given.get("username", ""), given.get("password", ""))}
    return {"Authorization": bearer(secret, given["token"])} if "token" in given else {}
