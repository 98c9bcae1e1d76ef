"""Addresses: paths and file URIs of this machine or another, sources elsewhere, and what is no address."""

from __future__ import annotations

import pytest

from overbook.artifacts.address import Asked, is_remote, local_path, machine_of, plain, scheme_of
from overbook.artifacts.errors import ArtifactError, SourceError, Trouble

LOCAL = [
    ("/m/iris", "/m/iris"),
    ("file:///m/my%20iris", "/m/my iris"),
    ("file://localhost/m", "/m"),
]
REMOTE = ["s3://bucket/iris", "gs://b/i", "https://host/iris", "remote:x"]


@pytest.mark.parametrize(("uri", "path"), LOCAL)
def test_local_paths(uri: str, path: str) -> None:
    assert local_path(uri) == path
    assert plain(uri) == path
    assert not is_remote(uri)
    assert machine_of(uri) == ""


@pytest.mark.parametrize("uri", REMOTE)
def test_remote_addresses_are_left_as_they_are(uri: str) -> None:
    assert is_remote(uri)
    assert plain(uri) == uri
    scheme, _, rest = uri.partition(":")
    assert scheme_of(uri) == (scheme, rest)


@pytest.mark.parametrize(
    ("uri", "one"),
    [
        ("s3://b/", "s3://b"),
        ("gs://b/iris//", "gs://b/iris"),
        ("az://c/", "az://c"),
        ("azureblob://c/x/", "azureblob://c/x"),
        ("sftp://me@host/srv/", "sftp://me@host/srv"),
        # Told as it was written, that it names no place.
        ("s3://", "s3://"),
        ("s3:///", "s3:///"),
        # A folder, and a file.
        ("https://host/iris/", "https://host/iris/"),
        ("remote:x/", "remote:x/"),
    ],
)
def test_a_folder_of_a_store_is_written_in_one_way(uri: str, one: str) -> None:
    assert plain(uri) == one


@pytest.mark.parametrize("uri", ["models/iris", ""])
def test_relative_paths_are_refused(uri: str) -> None:
    with pytest.raises(ArtifactError, match="a relative path means nothing to a server"):
        local_path(uri)


def test_a_file_uri_may_name_a_machine() -> None:
    uri = "file://node-1/m/my%20iris"
    assert machine_of(uri) == "node-1"
    assert plain(uri) == uri
    assert local_path(uri, "node-1") == "/m/my iris"
    assert local_path(uri) == "/m/my iris"
    with pytest.raises(ArtifactError, match="is on machine 'node-1', and this is 'node-2'"):
        local_path(uri, "node-2")


@pytest.mark.parametrize("uri", ["s3:", "s3://", "/m/iris", "://x", "s3:///"])
def test_what_names_no_place(uri: str) -> None:
    with pytest.raises(SourceError, match="names no place; expected such as") as raised:
        scheme_of(uri)
    assert raised.value.trouble is Trouble.BAD_ADDRESS


def test_an_address_has_an_end() -> None:
    assert scheme_of("s3://" + "b" * 2043)[0] == "s3"
    with pytest.raises(SourceError, match="expected at most 2048 characters"):
        scheme_of("s3://" + "b" * 2044)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("https://me:s3cr3t@host/m", "https://…@host/m holds a password"),
        ("sftp://:s3cr3t@host/m", "sftp://…@host/m holds a password"),
    ],
)
def test_a_password_is_refused_and_not_repeated(uri: str, told: str) -> None:
    with pytest.raises(SourceError) as raised:
        scheme_of(uri)
    assert told in str(raised.value)
    assert "s3cr3t" not in str(raised.value)


def test_a_user_without_a_password_is_no_secret() -> None:
    assert scheme_of("sftp://me@host/m") == ("sftp", "//me@host/m")


def test_versions_of_an_address_are_places_of_their_own() -> None:
    assert Asked("s3://b/m").place == "s3://b/m"
    assert Asked("s3://b/m", "3").place == "s3://b/m#3"


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("s3://models/iris", "s3://models"),
        ("https://host:8443/a/b", "https://host:8443"),
        ("sftp://me@host/a", "sftp://me@host"),
        ("nas:models/iris", "nas:"),
        ("models:/iris/3", "models:"),
        ("/srv/models/iris", ""),
        ("file:///srv/models/iris", ""),
    ],
)
def test_what_comes_from_the_same_host(uri: str, source: str) -> None:
    secret = "s" if source else ""
    assert Asked(uri, secret="s").source == (source, secret)
