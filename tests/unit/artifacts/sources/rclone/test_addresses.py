"""What an address of rclone's says."""

from __future__ import annotations

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.rclone.addresses import Address, parsed


@pytest.mark.parametrize(
    ("uri", "scheme", "place"),
    [
        ("s3://bucket/models/a/", "s3", "bucket/models/a"),
        ("mine:bucket/a", "mine", "bucket/a"),
        ("mine:/srv/models", "mine", "/srv/models"),
        ("sftp://me@host:2222/srv/models", "sftp", "me@host:2222/srv/models"),
        ("s3://bucket/a,env_auth=true:x", "s3", "bucket/a,env_auth=true:x"),
        ("s3://bucket/--config", "s3", "bucket/--config"),
    ],
)
def test_scheme_and_place(uri: str, scheme: str, place: str) -> None:
    assert parsed(uri) == Address(uri, scheme, place)


@pytest.mark.parametrize(
    "uri", ["bucket/a", "s3://b/../c", "s3://b//c", "s3://b/./c", "s3://b/a\nb", ":s3,x=y:bucket"]
)
def test_what_no_store_has_is_refused(uri: str) -> None:
    with pytest.raises(SourceError) as caught:
        parsed(uri)
    assert caught.value.trouble is Trouble.BAD_ADDRESS
    assert "\n" not in str(caught.value)
