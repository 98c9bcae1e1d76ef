"""What is probably mistyped in a secret is told, and what rclone has besides is left alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from overbook.artifacts.secrets.advice import PARAMETERS, advice, meant_type
from overbook.artifacts.secrets.remote import RemoteSecret

PAGE = Path(__file__).parents[4] / "docs" / "secrets.md"


def told(kind: str, *keys: str) -> list[str]:
    return advice(RemoteSecret("minio", "s3", kind, dict.fromkeys(keys, "hunter2")))


@pytest.mark.parametrize(
    ("kind", "key", "meant"),
    [
        ("s3", "acces_key_id", "access_key_id"),
        ("s3", "secretAccessKey", "secret_access_key"),
        ("s3", "secret_key", "secret_access_key"),
        ("http", "username", "user"),
        ("oci", "user", "username"),
        ("hf", "tokn", "token"),
    ],
)
def test_a_parameter_that_is_nearly_known(kind: str, key: str, meant: str) -> None:
    assert told(kind, key) == [
        f"secret 'minio': parameters.{key}: did you mean {meant}? It is kept as it is, and may have no effect"
    ]


def test_what_is_known_or_like_nothing_is_left_alone() -> None:
    for kind, keys in PARAMETERS.items():
        assert told(kind, *keys) == []
    assert told("s3", "chunk_size", "storage_class", "hunter2") == []
    assert told("webdav", "acces_key_id") == []


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        *(("S3", "s3"), ("minio", "s3"), ("mlfow", "mlflow"), ("azure", "azureblob")),
        *(("google-cloud-storage", "google cloud storage"), ("ftp", ""), ("dropbox", "")),
    ],
)
def test_a_kind_that_is_nearly_known(given: str, meant: str) -> None:
    assert meant_type(given) == meant
    line = f"secret 'minio': type: did you mean {meant}? It is kept as it is"
    assert told(given) == ([line] if meant else [])


def test_they_are_those_of_the_page() -> None:
    rows = re.findall(r"^\| `\S+?:/.*\| `([a-z0-9 ]+)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    assert [kind for kind, _ in rows] == list(PARAMETERS)
    for kind, text in rows:
        words = set(re.findall(r"`([a-z_]+)(?:: true|: \"\")?`", text))
        assert words == set(PARAMETERS[kind]), kind
