"""What a secret of type http becomes, and that no error repeats it."""

from __future__ import annotations

import pytest
from yarl import URL

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.web.http_secret import http_headers

HERE = URL("https://host/models/")
VALUE = "h0rs3-battery"


def secret(kind: str = "http", **parameters: str) -> RemoteSecret:
    return RemoteSecret("shelf", "web", kind, {k.rstrip("_"): v for k, v in parameters.items()})


@pytest.mark.parametrize(
    ("given", "headers"),
    [
        (secret(), {}),
        (secret(headers=f"X-Key,{VALUE}"), {"X-Key": VALUE}),
        (secret(headers=f'X-Key,"{VALUE},2",B,c'), {"X-Key": f"{VALUE},2", "B": "c"}),
        (secret(token=f" {VALUE}\n"), {"Authorization": f"Bearer {VALUE}"}),
        (secret(user="eva", pass_="pö"), {"Authorization": "Basic ZXZhOnDDtg=="}),
        (secret(user="eva"), {"Authorization": "Basic ZXZhOg=="}),
        (secret(url="https://host/x", token="t", no_head="true"), {"Authorization": "Bearer t"}),
    ],
)
def test_headers_are_made(given: RemoteSecret, headers: dict[str, str]) -> None:
    assert http_headers(given, HERE) == headers


def test_without_a_secret_nothing_is_said() -> None:
    assert http_headers(None, HERE) == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (secret("s3", token=VALUE), "type 's3' does not fit .* expected http"),
        (
            secret(password=VALUE),
            "no parameter 'password' is known; expected some of headers, pass",
        ),
        (secret(headers=VALUE), "expected Name,value,Name,value"),
        (secret(headers=f'X-Key,"{VALUE}'), "expected Name,value,Name,value"),
        (secret(headers=f"X Key,{VALUE}"), "does not allow in a header"),
        (secret(headers=f"X-Key,{VALUE}\r\nHost: evil"), "headers|expected"),
        (secret(headers=f'X-Key,"{VALUE}\r\nHost: evil"'), "does not allow in a header"),
        (secret(token=f"{VALUE}\nx"), "line break"),
        (secret(token=VALUE, user="eva"), "both token and user or pass"),
        (secret(token=VALUE, headers="authorization,x"), "Authorization already"),
        (
            secret(token=VALUE, url="https://other/"),
            "it is for https://other/?, not for https://host",
        ),
        (secret(token=VALUE, url="http://host/"), "not for https://host"),
        (secret(token=VALUE, url="host"), "url is no address"),
    ],
)
def test_what_is_wrong_with_a_secret_is_named(given: RemoteSecret, said: str) -> None:
    with pytest.raises(SourceError, match=said) as raised:
        http_headers(given, HERE)
    assert raised.value.trouble is Trouble.BAD_SECRET
    assert str(raised.value).startswith("secret shelf: ")
    assert VALUE not in str(raised.value)
    assert "\n" not in str(raised.value)
