"""Where a server may lead by what it answers, other than by a redirect: MLflow by the address of the files, a registry
by who gives out tokens.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from overbook.artifacts.archives import Bounds
from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import Source, Wanted
from overbook.artifacts.sources.web.connect.zones import Zone
from overbook.artifacts.sources.web.download import Downloader, Network
from overbook.artifacts.sources.web.http import HttpSource
from overbook.artifacts.sources.web.mlflow import MlflowSource
from overbook.artifacts.sources.web.registry.source import RegistrySource
from tests.integration.web_harness import (
    FAR,
    MANNERS,
    Handler,
    Names,
    far_is_public,
    found_in,
    served,
    without_proxies,
)

WANTED = Wanted("models:/m/1")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)


@pytest.fixture
async def downloader() -> AsyncIterator[Downloader]:
    names = Names(rebound_example=[FAR, "127.0.0.1"], metadata_example=["169.254.169.254"])
    made = Downloader(FetchLimits(), MANNERS, Network(lambda: names, far_is_public))
    yield made
    await made.close()


def naming(where: str) -> Handler:
    """A tracking server that says that the files are there."""
    answers: dict[str, object] = {
        "/api/2.0/mlflow/model-versions/get": {"model_version": {"version": "1"}},
        "/api/2.0/mlflow/model-versions/get-download-uri": {"artifact_uri": where},
    }

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(answers[request.path])

    return handler


def mlflow(downloader: Downloader, address: str) -> MlflowSource:
    def other(uri: str, least: Zone) -> Source:
        return HttpSource(downloader.within(least))

    return MlflowSource(downloader, other, {"MLFLOW_TRACKING_URI": address})


async def files(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"weights")


@pytest.mark.parametrize(
    "where",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://metadata.example/latest/meta-data/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://[fd00:ec2::254]/x",
        "http://100.100.100.200/x",
        "http://[::ffff:169.254.169.254]/x",
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", FAR])
async def test_no_tracking_server_leads_to_metadata(
    downloader: Downloader, where: str, host: str
) -> None:
    async with served(naming(where), host) as server:
        with pytest.raises(SourceError, match="refused, as it is link-local or a cloud") as raised:
            await mlflow(downloader, server.base).look(WANTED, None)
    assert raised.value.trouble is Trouble.REFUSED


@pytest.mark.parametrize(
    "private", ["http://10.0.0.1/x", "http://[fd00::1]/x", "http://127.0.0.1/x"]
)
async def test_from_the_internet_none_leads_into_this_network(
    downloader: Downloader, private: str
) -> None:
    async with served(naming(private), FAR) as server:
        with pytest.raises(SourceError, match="refused, as a server farther away leads there"):
            await mlflow(downloader, server.base).look(WANTED, None)


async def test_a_name_that_resolves_to_another_address_later_gains_nothing(
    downloader: Downloader,
) -> None:
    async with served(files) as here:
        port = here.base.rpartition(":")[2]
        where = f"http://rebound.example:{port}/x"
        async with served(naming(where), FAR) as server:
            source = mlflow(downloader, server.base)
            for _ in range(3):
                with pytest.raises(SourceError):
                    await source.look(WANTED, None)
        assert here.told == []


async def test_what_was_looked_at_far_away_is_not_brought_from_near(
    downloader: Downloader, tmp_path: Path
) -> None:
    """The name is another machine's by then."""
    near = Network(lambda: Names(rebound_example=["127.0.0.1"]), far_is_public)
    async with served(files, FAR) as far:
        port = far.base.rpartition(":")[2]
        async with served(naming(f"http://rebound.example:{port}/x"), FAR) as server:
            listing = await mlflow(downloader, server.base).look(WANTED, None)
            later = Downloader(FetchLimits(), MANNERS, near)
            with pytest.raises(SourceError, match="refused, as a server farther away leads there"):
                await mlflow(later, server.base).bring(
                    WANTED, None, listing, tmp_path / "a", lambda more: None
                )
            await later.close()


async def test_outwards_and_to_its_neighbours_a_tracking_server_may_lead(
    downloader: Downloader, tmp_path: Path
) -> None:
    for near, away in (("127.0.0.1", FAR), ("127.0.0.1", "127.0.0.1"), (FAR, FAR)):
        async with (
            served(files, away) as store,
            served(naming(f"{store.base}/x"), near) as server,
        ):
            source, into = mlflow(downloader, server.base), tmp_path / near / away
            listing = await source.look(WANTED, None)
            await source.bring(WANTED, None, listing, into, lambda more: None)
            assert found_in(into) == {"x": b"weights"}


async def test_a_secret_is_told_to_no_store_that_the_server_has_chosen(
    downloader: Downloader,
) -> None:
    async with served(files) as store, served(naming(f"{store.base}/x")) as server:
        source = mlflow(downloader, server.base)
        its = RemoteSecret("shelf", "http", "http", {"token": "t0psecret"})
        with pytest.raises(SourceError, match="secret shelf does not say that it is for"):
            await source.look(WANTED, its)
        assert store.told == []
        told = RemoteSecret("shelf", "http", "http", {"token": "t0psecret", "url": store.base})
        await source.look(WANTED, told)
        assert store.told[0].headers["authorization"] == "Bearer t0psecret"


@pytest.mark.parametrize(
    ("realm", "said"),
    [
        ("http://169.254.169.254/token", "169.254.169.254: refused, as it is link-local"),
        ("http://metadata.example/token", "metadata.example: refused, as it is link-local"),
        ("{here}/token", "127.0.0.1: refused, as a server farther away leads there"),
    ],
)
async def test_who_gives_out_a_registrys_tokens(
    downloader: Downloader, realm: str, said: str
) -> None:
    async def giver(request: web.Request) -> web.StreamResponse:
        return web.json_response({"token": "x"})

    async with served(giver) as here:
        challenge = f'Bearer realm="{realm.format(here=here.base)}",service="s"'

        async def registry(request: web.Request) -> web.StreamResponse:
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})

        async with served(registry, FAR) as far:
            source = RegistrySource(downloader, Bounds(1 << 20))
            uri = f"oci://{far.base.removeprefix('http://')}/m:1"
            secret = RemoteSecret("shelf", "oci", "oci", {"insecure": "true"})
            with pytest.raises(SourceError) as raised:
                await source.look(Wanted(uri), secret)
        assert here.told == []
    assert said in str(raised.value)
