"""Servers that say again what they were told in secret, wherever a server can say something: it is in no message, no
listing and no journal.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from huggingface_hub import constants

from overbook.artifacts.archives import Bounds
from overbook.artifacts.errors import SourceError
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import Listing, RemoteFile, Source, Wanted
from overbook.artifacts.sources.web.connect.zones import Zone
from overbook.artifacts.sources.web.download import Downloader
from overbook.artifacts.sources.web.http import HttpSource
from overbook.artifacts.sources.web.hub.source import HubSource
from overbook.artifacts.sources.web.mlflow import MlflowSource
from overbook.artifacts.sources.web.parts import parts_of
from overbook.artifacts.sources.web.registry.source import RegistrySource
from tests.integration.web_harness import MANNERS, Handler, served

SECRET = "t0psecret-t0ken"
BASIC = RemoteSecret("shelf", "http", "http", {"user": "eva", "pass": SECRET})
BEARER = RemoteSecret("shelf", "http", "http", {"token": SECRET})
COMMIT = "0" * 40
DIGEST = f"sha256:{'0' * 64}"


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


@pytest.fixture
async def downloader() -> AsyncIterator[Downloader]:
    made = Downloader(FetchLimits(), MANNERS)
    yield made
    await made.close()


def no_other(address: str, least: Zone) -> Source:
    raise AssertionError(f"nobody else is to be asked for {address}")


def echoed(request: web.Request) -> str:
    """What it was told, and for Basic the password in it."""
    told = request.headers.get("Authorization", "")
    return told.removeprefix("Bearer ").removeprefix("Basic ")


def is_free_of_it(text: str, *more: str) -> None:
    for each in (SECRET, *more):
        assert each.lower() not in text.lower()
        assert each.rstrip("=").lower() not in text.lower()


async def outcome(
    source: Source, uri: str, secret: RemoteSecret, into: Path
) -> tuple[str, Listing | None]:
    """All that is told and kept of a look and a fetch."""
    kept, listing = "", None
    try:
        listing = await source.look(Wanted(uri), secret)
        kept += f"{listing}{listing.fingerprint}"
        await source.bring(Wanted(uri), secret, listing, into, lambda more: None)
    except SourceError as error:
        kept += f"{error!r} {error.__cause__!r} {error.__context__ if not error.__suppress_context__ else ''}"
    if (journal := parts_of(into) / "journal").exists():
        kept += journal.read_text()
    return kept, listing


def everywhere(status: int, **headers: str) -> Handler:
    """``{0}`` in a header stands for what was told."""

    async def handler(request: web.Request) -> web.StreamResponse:
        said = echoed(request)
        told = {name.replace("_", "-"): value.format(said) for name, value in headers.items()}
        return web.Response(status=status, reason=f"No {said}", text=f"no {said}", headers=told)

    return handler


@pytest.mark.parametrize("secret", [BASIC, BEARER])
@pytest.mark.parametrize(
    "handler",
    [
        everywhere(302, Location="/{0}/x"),
        everywhere(302, Location="http://{0}.evil.example/"),
        everywhere(302, Location="http://127.0.0.1:1/{0}"),
        everywhere(302, Location="{0}://x/"),
        everywhere(302, Location="http://10.0.0.1:x/{0}"),
        everywhere(200, Content_Encoding="{0}"),
        everywhere(200, ETag='"{0}"'),
        everywhere(200, Last_Modified="{0}"),
        everywhere(200, Content_Range="{0}"),
        everywhere(401, WWW_Authenticate="{0}"),
        everywhere(429, Retry_After="{0}"),
        everywhere(500),
        everywhere(418),
    ],
)
async def test_a_web_server(
    downloader: Downloader, tmp_path: Path, secret: RemoteSecret, handler: Handler
) -> None:
    async with served(handler) as server:
        kept, _ = await outcome(
            HttpSource(downloader), f"{server.base}/m.bin", secret, tmp_path / "a"
        )
        sent = server.told[0].headers["authorization"].partition(" ")[2]
    is_free_of_it(kept, sent)


@pytest.mark.parametrize("name", ["{0}.bin", "%74{1}.bin", "&#116;{1}.bin", "a%2F{0}", "{0}/"])
async def test_a_page(downloader: Downloader, tmp_path: Path, name: str) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        link = name.format(SECRET, SECRET[1:])
        return web.Response(text=f'<a href="{link}">x</a>', content_type="text/html")

    async with served(handler) as server:
        kept, _ = await outcome(HttpSource(downloader), f"{server.base}/m/", BEARER, tmp_path / "a")
    is_free_of_it(kept)


@pytest.mark.parametrize(
    "where", ["{0}", "mlflow-artifacts:/{0}", "mlflow-artifacts://{0}/x", "/srv/{0}"]
)
@pytest.mark.parametrize("status", ["READY", SECRET])
async def test_mlflow(downloader: Downloader, tmp_path: Path, where: str, status: str) -> None:
    answers: dict[str, object] = {
        "/api/2.0/mlflow/model-versions/get": {
            "model_version": {"version": SECRET, "status": status, "creation_timestamp": SECRET}
        },
        "/api/2.0/mlflow/model-versions/get-download-uri": {"artifact_uri": where.format(SECRET)},
        "/api/2.0/mlflow-artifacts/artifacts": {"files": [{"path": SECRET, "file_size": 1}]},
    }

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(
            answers.get(request.path, {"error_code": SECRET, "message": SECRET})
        )

    async with served(handler) as server:
        given = {"tracking_uri": server.base, "username": "eva", "password": SECRET}
        secret = RemoteSecret("ml", "ml", "mlflow", given)
        source = MlflowSource(downloader, no_other, {})
        kept, _ = await outcome(source, "models:/m/1", secret, tmp_path / "a")
    is_free_of_it(kept)


@pytest.mark.parametrize("status", [200, 401, 403, 404, 500])
async def test_a_hub(downloader: Downloader, tmp_path: Path, status: int) -> None:
    siblings = [{"rfilename": f"{SECRET}.bin", "blobId": SECRET, "size": 1}]
    body = {"id": "a/b", "sha": COMMIT, "siblings": siblings, "gated": False, "error": SECRET}

    async def handler(request: web.Request) -> web.StreamResponse:
        headers = {"X-Error-Code": SECRET, "X-Error-Message": SECRET, "X-HF-Warning": SECRET}
        return web.Response(status=status, text=json.dumps(body), headers=headers)

    async with served(handler) as server:
        secret = RemoteSecret("hub", "hf", "hf", {"token": SECRET, "endpoint": server.base})
        kept, _ = await outcome(HubSource(downloader), "hf://a/b", secret, tmp_path / "a")
    is_free_of_it(kept)


@pytest.mark.parametrize("status", [200, 401, 403, 404, 500])
@pytest.mark.parametrize("listed", ["layers", "manifests"])
async def test_a_registry(downloader: Downloader, tmp_path: Path, status: int, listed: str) -> None:
    layer = {
        "mediaType": f"application/{SECRET}",
        "digest": DIGEST,
        "size": 1,
        "annotations": {"org.opencontainers.image.title": SECRET},
        "platform": {"os": SECRET, "architecture": SECRET},
    }
    body = {listed: [layer, layer | {"platform": {"os": "x"}}], "errors": [{"code": SECRET}]}

    async def handler(request: web.Request) -> web.StreamResponse:
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        return web.Response(status=status, text=json.dumps(body))

    async with served(handler) as server:
        given = {"username": "eva", "password": SECRET}
        secret = RemoteSecret("hub", "oci", "oci", given)
        uri = f"oci://{server.base.removeprefix('http://')}/m:1"
        source = RegistrySource(downloader, Bounds(1 << 20))
        kept, _ = await outcome(source, uri, secret, tmp_path / "a")
    is_free_of_it(kept)


async def test_what_a_server_says_of_versions_is_noticed_all_the_same(
    downloader: Downloader,
) -> None:
    """Also where it has no ETag, or one with the secret in it."""
    for one, other in (
        ({"ETag": f'"{SECRET}-1"'}, {"ETag": f'"{SECRET}-2"'}),
        (
            {"Last-Modified": "Mon, 30 Nov 2026 04:00:00 GMT"},
            {"Last-Modified": "Mon, 30 Nov 2026 05:00:00 GMT"},
        ),
    ):
        said = [one]

        async def handler(
            request: web.Request, said: list[dict[str, str]] = said
        ) -> web.StreamResponse:
            return web.Response(body=b"x", headers=said[-1])

        async with served(handler) as server:
            source = HttpSource(downloader)
            files: list[RemoteFile] = []
            for each in (one, other):
                said.append(each)
                files += (await source.look(Wanted(f"{server.base}/x"), BEARER)).files
        assert files[0].mark != files[1].mark
        is_free_of_it(repr(files))
