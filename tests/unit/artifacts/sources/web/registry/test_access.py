"""Secrets for registries: what is in them, what is wrong with one, and who may be asked without TLS."""

from __future__ import annotations

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.web.registry.access import Access, access_by
from overbook.artifacts.sources.web.registry.address import RegistryAddress

FAR = RegistryAddress("r.example", "a")
NEAR = RegistryAddress("127.0.0.1:5000", "a")


def secret(type_: str = "oci", **parameters: str) -> RemoteSecret:
    return RemoteSecret("mine", "registry", type_, parameters)


def test_none_leaves_it_to_this_machine() -> None:
    assert access_by(FAR, None) == Access()


def test_a_password_and_a_token() -> None:
    given = secret(username="u", password="p")
    assert access_by(FAR, given) == Access("u", "p", secret="mine")
    assert access_by(FAR, secret(token="t")) == Access(token="t", secret="mine")


@pytest.mark.parametrize(
    ("address", "given", "scheme"),
    [
        (FAR, None, "https"),
        (NEAR, None, "http"),
        (FAR, secret(token="t"), "https"),
        (NEAR, secret(token="t"), "http"),
        (FAR, secret(insecure="true"), "http"),
        (FAR, secret(insecure="True", token="t"), "http"),
        (NEAR, secret(insecure="false"), "https"),
    ],
)
def test_without_tls_only_on_this_machine_or_as_the_secret_says(
    address: RegistryAddress, given: RemoteSecret | None, scheme: str
) -> None:
    assert access_by(address, given).scheme == scheme


def test_what_is_secret_is_in_no_text() -> None:
    assert "SECRET" not in repr(access_by(FAR, secret(username="u", password="SECRET")))
    assert "SECRET" not in repr(access_by(FAR, secret(token="SECRET")))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (secret("s3", token="SECRET"), "has type 's3'; expected oci"),
        (secret(user="u", passwd="SECRET"), "has neither username and password nor a token"),
        (secret(password="SECRET"), "has no username"),
        (secret(username="u"), "has no password"),
        (secret(username="u", password="SECRET", token="SECRET"), "has a token and a username"),
        (secret(token="SECRET", insecure="yes"), "has an insecure that is neither"),
    ],
)
def test_what_is_wrong_is_said_without_what_is_secret(given: RemoteSecret, why: str) -> None:
    with pytest.raises(SourceError) as raised:
        access_by(FAR, given)
    assert raised.value.trouble is Trouble.BAD_SECRET
    assert str(raised.value).startswith(f"oci://r.example/a:latest: secret 'mine' {why}")
    assert "SECRET" not in str(raised.value)
