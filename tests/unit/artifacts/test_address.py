"""Addresses: paths and file URIs of this machine, and nothing else."""

from __future__ import annotations

import pytest

from overbook.artifacts.address import local_path
from overbook.artifacts.errors import ArtifactError


@pytest.mark.parametrize(
    ("uri", "path"),
    [("/m/iris", "/m/iris"), ("file:///m/my%20iris", "/m/my iris"), ("file://localhost/m", "/m")],
)
def test_local_paths(uri: str, path: str) -> None:
    assert local_path(uri) == path


@pytest.mark.parametrize("uri", ["s3://bucket/iris", "gs://b/i", "https://host/iris", "remote:x"])
def test_remote_artifacts_are_refused(uri: str) -> None:
    with pytest.raises(
        ArtifactError, match="remote artifacts aren't supported yet; expected a local"
    ):
        local_path(uri)


@pytest.mark.parametrize("uri", ["models/iris", "file://models/iris", ""])
def test_relative_paths_are_refused(uri: str) -> None:
    with pytest.raises(ArtifactError, match="a relative path means nothing to a server"):
        local_path(uri)
