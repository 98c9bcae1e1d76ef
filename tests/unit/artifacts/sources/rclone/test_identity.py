"""Who a machine is to a store when no secret says so."""

from __future__ import annotations

import pytest

from overbook.artifacts.errors import SourceError
from overbook.artifacts.sources.rclone import identity

from .made import machine


@pytest.mark.parametrize(
    "on",
    [
        machine({"AWS_ACCESS_KEY_ID": "x"}),
        machine({"AWS_WEB_IDENTITY_TOKEN_FILE": "/token"}),
        machine({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1"}),
        machine(files=(".aws/credentials",)),
        machine(cloud="aws"),
    ],
)
def test_s3_with_an_identity(on: identity.Machine) -> None:
    assert identity.s3(on) == {"provider": "AWS", "env_auth": "true"}


def test_s3_as_a_stranger_asks_no_metadata_server() -> None:
    assert identity.s3(machine())["env_auth"] == "false"
    environment = identity.environment_of_stranger(machine(), itself=True)
    assert environment["AWS_EC2_METADATA_DISABLED"] == "true"
    assert "AWS_EC2_METADATA_DISABLED" not in identity.environment_of_stranger(
        machine(cloud="aws"), itself=True
    )


def test_s3_of_another_maker() -> None:
    on = machine({"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "http://b"})
    assert identity.s3(on) | {"env_auth": ""} == {
        "provider": "Other",
        "env_auth": "",
        "endpoint": "http://b",
    }
    assert identity.s3(machine({"AWS_REGION": "eu-west-1"}))["region"] == "eu-west-1"


def test_gcs() -> None:
    adc = ".config/gcloud/application_default_credentials.json"
    assert identity.gcs(machine()) == {"anonymous": "true"}
    assert identity.gcs(machine(files=(adc,))) == {"env_auth": "true"}
    assert identity.gcs(machine(cloud="gcp")) == {"env_auth": "true"}
    told = identity.gcs(machine({"STORAGE_EMULATOR_HOST": "localhost:4443"}, cloud="gcp"))
    assert told == {"anonymous": "true", "endpoint": "http://localhost:4443/storage/v1/"}


def test_azureblob() -> None:
    account = {"AZURE_STORAGE_ACCOUNT_NAME": "mine"}
    assert identity.azureblob(machine(account), "az://c") == {"account": "mine"}
    with_key = machine(account | {"AZURE_STORAGE_ACCOUNT_KEY": "k"})
    assert identity.azureblob(with_key, "az://c") == {"account": "mine", "key": "k"}
    as_client = machine(account | {"AZURE_CLIENT_ID": "c"})
    assert identity.azureblob(as_client, "az://c") == {"account": "mine", "env_auth": "true"}
    with pytest.raises(SourceError, match="AZURE_STORAGE_ACCOUNT_NAME"):
        identity.azureblob(machine(), "az://c")


def test_sftp_comes_by_the_users_key_and_trusts_the_hosts_that_it_knows() -> None:
    known = {"known_hosts_file": "/home/me/.ssh/known_hosts"}
    assert identity.sftp(machine()) == known
    told = identity.sftp(machine(files=(".ssh/id_rsa", ".ssh/id_ecdsa")))
    assert told == known | {"key_file": "/home/me/.ssh/id_ecdsa"}


def test_a_process_with_a_secret_does_not_see_who_the_machine_is() -> None:
    on = machine({"AWS_ACCESS_KEY_ID": "x", "RCLONE_S3_ENDPOINT": "y", "HTTPS_PROXY": "z"})
    told = identity.environment_of_stranger(on, itself=False)
    assert set(told) == {"HTTPS_PROXY", "AWS_EC2_METADATA_DISABLED"}
    assert "AWS_ACCESS_KEY_ID" in identity.environment_of_stranger(on, itself=True)


def test_its_text_has_nothing_of_the_environment() -> None:
    assert "swordfish" not in repr(machine({"AWS_SECRET_ACCESS_KEY": "swordfish"}))
