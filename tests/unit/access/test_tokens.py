"""Tokens: what is kept of one, and who shows it."""

from __future__ import annotations

import pytest

from overbook.access.minting import PREFIX, mint
from overbook.access.roles import Role
from overbook.access.tokens import Token, Tokens, bearer, digest

KEY = bytes(range(32))


def token(text: str, *models: str, expires: float | None = None) -> Token:
    return Token("web", Role.INFER, models, 0.0, expires, digest(KEY, text))


def test_new_ones_differ_and_say_what_they_are() -> None:
    made = {mint() for _ in range(100)}
    assert len(made) == 100
    assert all(each.startswith(PREFIX) and len(each) == 46 for each in made)


def test_the_digest_is_an_hmac() -> None:
    # By `printf ob_x | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102...1f`.
    expected = "ee8f69a90e2ec169cfd5c7e67ee50ad8ac6745c129e8b9cd5a204f92754406b5"
    assert digest(KEY, "ob_x").hex() == expected


def test_who_shows_it_is_known_until_it_expires() -> None:
    known = Tokens(KEY, [token("ob_good", expires=10.0)])
    assert known.who("Bearer ob_good", 9.9) is not None
    assert known.who("Bearer ob_good", 10.0) is None
    assert known.who("Bearer ob_other", 0.0) is None


def test_without_a_key_nobody_is_known() -> None:
    assert (
        Tokens(b"", [Token("x", Role.ADMIN, (), 0.0, None, digest(b"", "a"))]).who("Bearer a", 0)
        is None
    )


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", None),
        ("Bearer", None),
        ("Bearer a b", None),
        ("Bearer abc,Bearer abc", None),
        ("Bearer " + "x" * 257, None),
        (" Bearer abc", None),
        ("Bearer abc\n", None),
        (None, None),
    ],
)
def test_the_header(header: str | None, found: str | None) -> None:
    assert bearer(header) == found


def test_a_token_is_in_no_text_of_its_record() -> None:
    kept = token("ob_secret")
    assert kept.digest.hex() not in repr(kept)
    assert str(kept.digest) not in repr(kept)
