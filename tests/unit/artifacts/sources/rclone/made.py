"""Remotes as they are made of addresses and secrets, for the tests here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.rclone.addresses import parsed
from overbook.artifacts.sources.rclone.identity import Machine
from overbook.artifacts.sources.rclone.own_configuration import Configuration
from overbook.artifacts.sources.rclone.remotes import Remote, remote_of

KEY_ID = "AKIAQ7EXAMPLE4SHELF2"
SECRET_KEY = "h0rs3/battery+staple"
MINIO = {
    "provider": "Minio",
    "env_auth": "false",
    "access_key_id": KEY_ID,
    "secret_access_key": SECRET_KEY,
    "endpoint": "http://minio:9000",
}


def machine(
    environment: Mapping[str, str] | None = None, cloud: str = "", files: tuple[str, ...] = ()
) -> Machine:
    """``files``: those that are there, below its user's home /home/me."""
    there = {Path("/home/me") / name for name in files}
    return Machine(environment or {}, Path("/home/me"), cloud, there.__contains__)


def secret(
    name: str = "s3", kind: str = "s3", parameters: Mapping[str, str] = MINIO
) -> RemoteSecret:
    return RemoteSecret("minio", name, kind, parameters)


def remote(
    uri: str,
    given: RemoteSecret | None = None,
    on: Machine | None = None,
    configuration: Configuration | None = None,
) -> Remote:
    return remote_of(parsed(uri), given, on or machine(), configuration or {})
