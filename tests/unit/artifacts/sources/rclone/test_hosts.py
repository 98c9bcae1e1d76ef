"""Where rclone may go for a secret's remote."""

from __future__ import annotations

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.rclone.hosts import bounds, refuse_metadata
from overbook.artifacts.sources.rclone.sections import Unwritable

from .made import machine, remote, secret

GCS = "google cloud storage"


@pytest.mark.parametrize(
    ("kind", "parameters", "hosts"),
    [
        ("s3", {"endpoint": "http://minio:9000"}, "minio:9000"),
        ("s3", {"endpoint": "s3.example.com"}, "s3.example.com"),
        ("s3", {"endpoint": "http://[2001:db8::1]:9000"}, "[2001:db8::1]:9000"),
        ("s3", {"region": "eu-west-1"}, "amazonaws.com,amazonaws.com.cn,api.aws"),
        (
            "s3",
            {"endpoint": "http://minio", "role_arn": "arn"},
            "minio,amazonaws.com,amazonaws.com.cn,api.aws",
        ),
        ("s3", {"endpoint": "http://ibm", "ibm_api_key": "k"}, "ibm,iam.cloud.ibm.com"),
        (GCS, {"anonymous": "true"}, "googleapis.com,accounts.google.com"),
        (
            GCS,
            {"anonymous": "true", "endpoint": "http://fake:1/storage/v1/"},
            "fake:1,googleapis.com,accounts.google.com",
        ),
    ],
)
def test_the_stores_own_hosts(kind: str, parameters: dict[str, str], hosts: str) -> None:
    made = bounds(kind, parameters, {}, itself=False)
    assert made["NO_PROXY"] == hosts
    assert made["HTTP_PROXY"] == made["HTTPS_PROXY"] == "http://127.0.0.1:0"


def test_those_of_azure() -> None:
    said = "DefaultEndpointsProtocol=https;AccountName=a;BlobEndpoint=http://azurite:10000/a;"
    made = bounds("azureblob", {"connection_string": said}, {}, itself=False)
    assert made["NO_PROXY"].startswith("azurite:10000,windows.net,")
    signed = bounds("azureblob", {"sas_url": "https://a.b.example/c?sig=x"}, {}, itself=False)
    assert signed["NO_PROXY"].startswith("a.b.example,windows.net,")


def test_who_this_machine_is_can_be_asked_where_the_secret_says_so() -> None:
    assert "169.254.169.254" not in bounds("s3", {}, {}, itself=False)["NO_PROXY"]
    assert "169.254.169.254" in bounds("s3", {}, {}, itself=True)["NO_PROXY"]


def test_a_proxy_that_is_there_says_where_one_may_go() -> None:
    assert bounds("s3", {}, {"https_proxy": "http://proxy:3128"}, itself=False) == {}
    assert bounds("webdav", {"url": "https://dav"}, {}, itself=False) == {}


def test_only_secrets_are_bounded() -> None:
    told = dict(remote("s3://b/a", secret()).environment)
    assert told["NO_PROXY"] == "minio:9000"
    assert "NO_PROXY" not in dict(remote("s3://b/a", on=machine()).environment)
    own = {"shelf": {"type": "s3", "endpoint": "http://minio"}}
    assert "NO_PROXY" not in dict(remote("shelf:b/a", configuration=own).environment)


@pytest.mark.parametrize(
    ("key", "address"),
    [
        ("endpoint", "http://169.254.169.254/latest"),
        ("endpoint", "169.254.169.254:80"),
        ("endpoint", "http://[fd00:ec2::254]"),
        ("endpoint", "http://[::ffff:169.254.169.254]/"),
        ("url", "http://metadata.google.internal"),
        ("host", "168.63.129.16"),
    ],
)
def test_no_secret_leads_to_a_metadata_server(key: str, address: str) -> None:
    with pytest.raises(Unwritable, match=f"its {key} is the address"):
        refuse_metadata({key: address})
    with pytest.raises(SourceError) as raised:
        remote("s3://b/a", secret(parameters={"endpoint": "http://169.254.169.254"}))
    assert raised.value.trouble is Trouble.BAD_SECRET
