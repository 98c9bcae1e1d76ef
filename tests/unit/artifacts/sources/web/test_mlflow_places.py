"""Where a tracking server may send us, and with which secret."""

from __future__ import annotations

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.web.mlflow_places import (
    path_at,
    require_a_store,
    require_same_server,
    scheme_at,
)

SERVER = "https://mlflow.example"


def secret(name: str, kind: str, **parameters: str) -> RemoteSecret:
    return RemoteSecret("shelf", name, kind, parameters)


S3 = secret("s3", "s3", endpoint="http://minio.example")


@pytest.mark.parametrize(
    ("where", "given"),
    [
        ("s3://models/7", None),
        ("s3://models/7", S3),
        ("gs://models/7", None),
        ("azureblob://models/7", None),
        ("hf://owner/name", secret("hf", "hf", token="t")),
        ("https://files.example/7/", None),
        (
            "https://files.example/7/",
            secret("https", "http", token="t", url="https://files.example"),
        ),
        ("oci://registry.example/m:1", None),
        ("shelf:models/7", secret("shelf", "b2", key="k")),
        ("sftp://eva@files.example/7", secret("sftp", "sftp", host="files.example")),
    ],
)
def test_places_that_are_asked(where: str, given: RemoteSecret | None) -> None:
    require_a_store(where, SERVER, given)


@pytest.mark.parametrize(
    ("where", "given", "said"),
    [
        (
            "/var/models",
            None,
            "in a folder of its own machine, '/var/models'; start it with --serve-artifacts",
        ),
        ("file:///var/m%20x", None, "in a folder of its own machine, '/var/m x'; start it"),
        ("sftp://eva@10.0.0.1/7", None, "no server may choose who is asked by sftp; name a secret"),
        ("sftp://eva@10.0.0.1/7", S3, "no server may choose who is asked by sftp; name a secret"),
        (
            "sftp://eva@10.0.0.1/7",
            secret("sftp", "sftp", host="files.example"),
            "a remote sftp with its host",
        ),
        ("sftp://eva@10.0.0.1/7", secret("sftp", "sftp"), "a remote sftp with its host"),
        ("ftp://10.0.0.1/7", None, "no server may choose who is asked by ftp"),
        ("my-remote:private/7", None, "no server may choose who is asked by my-remote"),
        (
            "https://evil.example/7/",
            secret("https", "http", token="t0psecret"),
            "secret shelf does not say that it is for that server",
        ),
        (
            "oci://evil.example/m",
            secret("oci", "oci", username="eva", password="t0psecret"),
            "secret shelf does not say that it is for that server",
        ),
    ],
)
def test_places_that_are_not(where: str, given: RemoteSecret | None, said: str) -> None:
    with pytest.raises(SourceError) as raised:
        require_a_store(where, SERVER, given)
    assert raised.value.trouble in (Trouble.REFUSED, Trouble.BAD_SECRET)
    assert str(raised.value).startswith(f"{SERVER} ")
    assert said in str(raised.value)
    assert "t0psecret" not in str(raised.value)


@pytest.mark.parametrize(
    "where", ["mlflow-artifacts://[", "x" * 2049, "s3://b/\x1b[2J", "s3://b/\ny"]
)
def test_what_is_no_address(where: str) -> None:
    with pytest.raises(SourceError, match="which is no address") as raised:
        scheme_at(where, SERVER)
    assert raised.value.trouble is Trouble.BAD_ADDRESS
    assert str(raised.value).isprintable()


def test_the_servers_own() -> None:
    assert path_at("mlflow-artifacts:/7/a%20b/") == "7/a b"
    require_same_server("mlflow-artifacts:/7", SERVER)
    require_same_server("mlflow-artifacts://mlflow.example/7", SERVER)
    with pytest.raises(SourceError, match=r"at another server, '10\.0\.0\.1:80'"):
        require_same_server("mlflow-artifacts://10.0.0.1:80/7", SERVER)
