"""Which source serves an address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.factory import Sources
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.rclone.identity import Machine
from overbook.artifacts.sources.rclone.source import RcloneSource
from overbook.artifacts.sources.web.http import HttpSource
from overbook.artifacts.sources.web.hub.source import HubSource
from overbook.artifacts.sources.web.mlflow import MlflowSource
from overbook.artifacts.sources.web.registry.source import RegistrySource


@pytest.fixture
async def sources() -> AsyncIterator[Sources]:
    made = Sources(FetchLimits(), Machine({}, Path("/nowhere")), 1 << 20)
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("s3://b/m", RcloneSource),
        ("gs://b/m", RcloneSource),
        ("my-remote:b/m", RcloneSource),
        ("http://h/m.zip", HttpSource),
        ("https://h/m/", HttpSource),
        ("hf://o/n", HubSource),
        ("oci://h/r:1", RegistrySource),
        ("models:/m/1", MlflowSource),
    ],
)
async def test_each_address_has_its_source_and_each_source_is_one(
    sources: Sources, uri: str, kind: type
) -> None:
    assert isinstance(sources.of(uri), kind)
    assert sources.of(uri) is sources.of(uri)


async def test_a_folder_that_a_registry_names_is_not_looked_for_here(sources: Sources) -> None:
    with pytest.raises(SourceError, match="is a folder of whoever named it") as raised:
        sources.of("file:///mlruns/1/artifacts")
    assert raised.value.trouble is Trouble.REFUSED
