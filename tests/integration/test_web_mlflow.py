"""Models of a real MLflow: those that its server gives out itself, and those that lie in a store of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
from aiohttp import web

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.limits import FetchLimits
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
from overbook.artifacts.sources.web.mlflow import MlflowSource
from tests.integration.web_harness import MANNERS, found_in, served
from tests.stores.mlflow import TrackingServer, tracking_server
from tests.stores.s3 import moto_s3

pytestmark = pytest.mark.slow

FILES: Mapping[str, bytes] = {
    "config.pbtxt": b"name: 'x'",
    "1/model.bin": b"one",
    "1/deep/ü b%.txt": b"deep",
    "2/model.bin": b"two!",
}


def no_other(address: str, least: Zone) -> Source:
    raise AssertionError(f"nobody else is to be asked for {address}")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Iterator[TrackingServer]:
    """Has model ``echo`` in version 1, and ``tree`` in versions 1 and 2."""
    with tracking_server(tmp_path_factory.mktemp("mlflow")) as found:
        assert found.log(("echo", None), ("tree", files), ("tree", files)) == ["1", "1", "2"]
        yield found


@pytest.fixture
async def downloader() -> AsyncIterator[Downloader]:
    made = Downloader(FetchLimits(), MANNERS)
    yield made
    await made.close()


@pytest.fixture
def source(downloader: Downloader, server: TrackingServer) -> MlflowSource:
    return MlflowSource(downloader, no_other, {"MLFLOW_TRACKING_URI": server.address})


def secret(server: TrackingServer) -> RemoteSecret:
    return RemoteSecret("registry", "ml", "mlflow", {"tracking_uri": f"{server.address}/"})


async def brought(
    source: MlflowSource, uri: str, into: Path, version: str = ""
) -> tuple[Listing, dict[str, bytes]]:
    wanted = Wanted(uri, version)
    listing = await source.look(wanted, None)
    received = await source.bring(wanted, None, listing, into, lambda more: None)
    assert [each.name for each in received] == [each.name for each in listing.files]
    return listing, found_in(into)


async def test_a_version_of_a_model_is_brought_and_pinned(
    source: MlflowSource, server: TrackingServer, tmp_path: Path
) -> None:
    listing, found = await brought(source, "models:/echo/1", tmp_path / "a")
    assert listing.pinned == f"{server.address} models:/echo/1"
    assert {"MLmodel", "echo.py", "requirements.txt"} <= set(found)
    assert b"flavors:" in found["MLmodel"]
    assert listing.bytes == sum(map(len, found.values()))


async def test_a_version_that_is_a_folder_of_a_run(source: MlflowSource, tmp_path: Path) -> None:
    _, found = await brought(source, "models:/tree/2", tmp_path / "a")
    assert found == FILES


async def test_of_an_artifact_one_folder_alone(source: MlflowSource, tmp_path: Path) -> None:
    _, found = await brought(source, "models:/tree/2", tmp_path / "a", version="1")
    assert found == {name: data for name, data in FILES.items() if not name.startswith("2/")}


async def test_an_alias_pins_nothing_and_leads_elsewhere_when_it_is_moved(
    source: MlflowSource, server: TrackingServer, tmp_path: Path
) -> None:
    server.set_alias("tree", "prod", "1")
    first, found = await brought(source, "models:/tree@prod", tmp_path / "a")
    assert (first.pinned, found) == ("", FILES)
    server.set_alias("tree", "prod", "2")
    second = await source.look(Wanted("models:/tree@prod"), None)
    assert second.fingerprint != first.fingerprint


async def test_the_latest_version(source: MlflowSource) -> None:
    latest = await source.look(Wanted("models:/tree/latest"), None)
    second = await source.look(Wanted("models:/tree/2"), None)
    assert latest.files == second.files
    assert latest.pinned == ""


async def test_a_secret_names_the_server(downloader: Downloader, server: TrackingServer) -> None:
    source = MlflowSource(downloader, no_other, {})
    listing = await source.look(Wanted("models:/tree/1"), secret(server))
    assert len(listing.files) == len(FILES)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("models:/tree/9", "has no version 9 of a model tree"),
        ("models:/nobody/1", "has no version 1 of a model nobody"),
        ("models:/tree@nobody", "has no model tree with the alias nobody"),
        ("models:/nobody/latest", "has no version of a model nobody"),
        (f"models:/m-{'0' * 32}", "has no logged model m-0000"),
    ],
)
async def test_what_is_not_there_is_named(source: MlflowSource, uri: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as raised:
        await source.look(Wanted(uri), None)
    assert raised.value.trouble is Trouble.NOT_FOUND


async def test_a_server_that_is_no_mlflow(downloader: Downloader) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>welcome</html>")

    async with served(handler) as other:
        source = MlflowSource(downloader, no_other, {"MLFLOW_TRACKING_URI": other.base})
        with pytest.raises(SourceError, match="expected a tracking server"):
            await source.look(Wanted("models:/tree/1"), None)


async def test_what_is_told_the_tracking_server_is_told_again_for_each_file(
    downloader: Downloader, tmp_path: Path
) -> None:
    """A server that wants a password, as MLflow's own does with basic-auth."""
    answers: dict[str, object] = {
        "/api/2.0/mlflow/model-versions/get": {"model_version": {"version": "1"}},
        "/api/2.0/mlflow/model-versions/get-download-uri": {
            "artifact_uri": "mlflow-artifacts:/7/m"
        },
        "/api/2.0/mlflow-artifacts/artifacts": {"files": [{"path": "x", "file_size": "3"}]},
    }

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != "Basic ZXZhOnQwcHNlY3JldA==":
            return web.Response(status=401)
        if request.path == "/api/2.0/mlflow-artifacts/artifacts/7/m/x":
            return web.Response(body=b"abc")
        return web.json_response(answers[request.path])

    async with served(handler) as server:
        given = {"tracking_uri": server.base, "username": "eva", "password": "t0psecret"}
        its = RemoteSecret("registry", "ml", "mlflow", given)
        source, wanted = MlflowSource(downloader, no_other, {}), Wanted("models:/m/1")
        listing = await source.look(wanted, its)
        await source.bring(wanted, its, listing, tmp_path / "a", lambda more: None)
        assert found_in(tmp_path / "a") == {"x": b"abc"}
        wrong = RemoteSecret("registry", "ml", "mlflow", given | {"password": "0ther"})
        with pytest.raises(SourceError, match="secret registry does not suffice") as raised:
            await source.look(wanted, wrong)
    assert raised.value.trouble is Trouble.NOT_ALLOWED
    assert "0ther" not in str(raised.value)


class FakeStore:
    """Stands for the source of another store: notes what it is asked, and has one file."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, RemoteSecret | None]] = []
        self.brought: Listing | None = None

    async def look(self, wanted: Wanted, secret: RemoteSecret | None) -> Listing:
        self.asked.append((wanted.storage_uri, secret))
        return Listing((RemoteFile("x", 1, "m", origin="its own word"),), pinned="its own pin")

    async def bring(
        self,
        wanted: Wanted,
        secret: RemoteSecret | None,
        listing: Listing,
        into: Path,
        progress: Progress,
    ) -> tuple[Received, ...]:
        self.asked.append((wanted.storage_uri, secret))
        self.brought = listing
        return (Received("x", 1),)


async def test_files_in_a_store_of_their_own_are_brought_by_its_source(
    downloader: Downloader, files: Path, tmp_path: Path
) -> None:
    keys = {
        "AWS_ACCESS_KEY_ID": "root",
        "AWS_SECRET_ACCESS_KEY": "root",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with moto_s3(tmp_path) as s3:
        s3.make_bucket("models")
        env = keys | {"MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{s3.port}"}
        with tracking_server(tmp_path / "mlflow", "s3://models/root", env) as server:
            server.log(("tree", files))
            store = FakeStore()
            environment = {"MLFLOW_TRACKING_URI": server.address}
            source = MlflowSource(downloader, lambda address, least: store, environment)
            for given, handed in (
                (secret(server), None),
                (its := RemoteSecret("shelf", "s3", "s3", {}), its),
            ):
                wanted = Wanted("models:/tree/1")
                listing = await source.look(wanted, given)
                received = await source.bring(wanted, given, listing, tmp_path, lambda more: None)
                assert received == (Received("x", 1),)
                assert listing.pinned == f"{server.address} models:/tree/1"
                (address, seen), (again, seen_again) = store.asked
                store.asked.clear()
                assert address.startswith("s3://models/root/")
                assert address.endswith("/artifacts/files")
                assert (again, seen, seen_again) == (address, handed, handed)
                assert store.brought is not None
                assert store.brought.files[0].origin == "its own word"


@pytest.mark.parametrize("root", ["/var/models/1", "file:///var/models/1"])
async def test_a_folder_of_the_servers_machine_is_refused_with_what_to_do(
    downloader: Downloader, root: str
) -> None:
    """Also where the server is on this machine: whose folders are named must not be its choice."""
    answers: dict[str, object] = {
        "/api/2.0/mlflow/model-versions/get": {"model_version": {"version": "1"}},
        "/api/2.0/mlflow/model-versions/get-download-uri": {"artifact_uri": root},
    }

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(answers[request.path])

    async with served(handler) as here:
        source = MlflowSource(downloader, no_other, {"MLFLOW_TRACKING_URI": here.base})
        with pytest.raises(SourceError) as raised:
            await source.look(Wanted("models:/m/1"), None)
    assert raised.value.trouble is Trouble.REFUSED
    assert str(raised.value) == (
        f"{here.base} keeps the files in a folder of its own machine, '/var/models/1'; start it with --serve-artifacts "
        "and without a folder as --default-artifact-root, and log the model in a new experiment: one that is there "
        "keeps its folder"
    )
