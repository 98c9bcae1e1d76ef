"""Secrets for the hub: what is in them, and what is wrong with one."""

from __future__ import annotations

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.web.hub.access import Access, access_by
from overbook.artifacts.sources.web.hub.address import HubAddress

ADDRESS = HubAddress("a", "b")


def secret(type_: str = "hf", **parameters: str) -> RemoteSecret:
    return RemoteSecret("mine", "hub", type_, parameters)


def test_none_leaves_it_to_the_environment() -> None:
    assert access_by(ADDRESS, None) == Access()


def test_a_token_and_an_endpoint() -> None:
    given = secret(token=" hf_x\n", endpoint="https://hub.example/")
    assert access_by(ADDRESS, given) == Access("hf_x", "https://hub.example", "mine")


def test_its_token_is_in_no_text() -> None:
    assert "hf_x" not in repr(access_by(ADDRESS, secret(token="hf_x")))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (secret("s3", token="SECRET"), "has type 's3'; expected hf"),
        (
            secret(tokn="SECRET", api="SECRET"),
            "has no parameter token (those that it has: 'api', 'tokn'); expected parameters: {token: hf_...}",
        ),
        (secret(), "has no parameter token (those that it has: none); expected"),
        (secret(token=" "), "has no parameter token"),
        (secret(token="SECRET SECRET"), "has a token with blanks"),
        (secret(token="SECRET\x07"), "has a token with blanks"),
        (secret(token="SECRETÄ"), "has a token with blanks"),
        (secret(token="SECRET", endpoint="hub.example"), "has an endpoint that is none"),
        (secret(token="SECRET", endpoint="file:///etc"), "has an endpoint that is none"),
        (secret(token="SECRET", endpoint="https://u:SECRET@h"), "has an endpoint that is none"),
    ],
)
def test_what_is_wrong_is_said_without_what_is_secret(given: RemoteSecret, why: str) -> None:
    with pytest.raises(SourceError) as raised:
        access_by(ADDRESS, given)
    assert raised.value.trouble is Trouble.BAD_SECRET
    assert str(raised.value).startswith(f"hf://a/b: secret 'mine' {why}")
    assert "SECRET" not in str(raised.value)
