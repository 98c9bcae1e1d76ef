"""Which model is meant, which server is asked, and what it is told."""

from __future__ import annotations

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.web.mlflow_address import ModelAddress, model_address, tracking

VALUE = "h0rs3-battery"
ID = "m-0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("uri", "found", "pins"),
    [
        ("models:/iris/12", ModelAddress("iris", "12"), True),
        ("models:/iris/latest", ModelAddress("iris", "latest"), False),
        ("models:/iris/Latest", ModelAddress("iris", "latest"), False),
        ("models:/iris@prod", ModelAddress("iris", alias="prod"), False),
        ("models:/a@b@prod", ModelAddress("a@b", alias="prod"), False),
        (f"models:/{ID}", ModelAddress(model_id=ID), True),
    ],
)
def test_the_ways_to_name_a_model(uri: str, found: ModelAddress, pins: bool) -> None:
    assert model_address(uri) == found
    assert found.pins is pins


@pytest.mark.parametrize(
    "uri",
    [
        "models:/iris",
        "models:/",
        "models:/@prod",
        "models:/iris@",
        "models:/iris/",
        "models:/iris/1/sub",
        "models:/iris/Production",
        "models:/iris/²",
        "models://server/iris/1",
    ],
)
def test_what_names_no_model(uri: str) -> None:
    with pytest.raises(SourceError, match="expected models:/NAME/VERSION") as raised:
        model_address(uri)
    assert raised.value.trouble is Trouble.BAD_ADDRESS


def secret(kind: str = "mlflow", **parameters: str) -> RemoteSecret:
    return RemoteSecret("registry", "ml", kind, parameters)


def test_a_secret_of_the_type_names_the_server() -> None:
    server = tracking(
        secret(tracking_uri="https://ml/prefix/", token=VALUE), {"MLFLOW_TRACKING_URI": "http://x"}
    )
    assert (server.address, server.secret) == ("https://ml/prefix", "registry")
    assert server.headers == {"Authorization": f"Bearer {VALUE}"}
    assert VALUE not in repr(server)


def test_else_the_environment_does() -> None:
    environment = {
        "MLFLOW_TRACKING_URI": "http://ml:5000",
        "MLFLOW_TRACKING_USERNAME": "eva",
        "MLFLOW_TRACKING_PASSWORD": "pö",
        "MLFLOW_TRACKING_TOKEN": "t",
    }
    for given in (None, secret("s3", access_key_id="x")):
        server = tracking(given, environment)
        assert server.address == "http://ml:5000"
        assert server.headers == {"Authorization": "Basic ZXZhOnDDtg=="}
    token = {"MLFLOW_TRACKING_URI": "http://ml:5000", "MLFLOW_TRACKING_TOKEN": "t"}
    assert tracking(None, token).headers == {"Authorization": "Bearer t"}
    anonymous = tracking(None, {"MLFLOW_TRACKING_URI": "http://ml:5000"})
    assert (anonymous.headers, anonymous.secret) == ({}, "")


@pytest.mark.parametrize(
    ("given", "environment", "trouble", "said"),
    [
        (None, {}, Trouble.BAD_ADDRESS, "MLFLOW_TRACKING_URI"),
        (None, {"MLFLOW_TRACKING_URI": "sqlite:///x"}, Trouble.BAD_ADDRESS, "no address"),
        (None, {"MLFLOW_TRACKING_URI": f"http://e:{VALUE}@h"}, Trouble.BAD_ADDRESS, "a secret"),
        (secret(token=VALUE), {}, Trouble.BAD_SECRET, "tracking_uri is missing"),
        (secret(uri="x"), {}, Trouble.BAD_SECRET, "no parameter 'uri' is known"),
        (
            secret(tracking_uri="http://x", token=f"{VALUE}\nx"),
            {},
            Trouble.BAD_SECRET,
            "line break",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    given: RemoteSecret | None, environment: dict[str, str], trouble: Trouble, said: str
) -> None:
    with pytest.raises(SourceError, match=said) as raised:
        tracking(given, environment)
    assert raised.value.trouble is trouble
    assert VALUE not in str(raised.value)
