"""What was told in secret is in nothing that is made of an answer; what is no secret stays."""

from __future__ import annotations

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.web.connect.masking import Mask
from overbook.artifacts.sources.web.http_secret import basic
from overbook.manifests.problems import Json

TOKEN = "hf_S3cretToken"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
BASIC = {"Authorization": basic("eva", "t0psecret!")}


@pytest.mark.parametrize(
    ("headers", "said", "masked"),
    [
        (BEARER, f"x {TOKEN} y", "x *** y"),
        (BEARER, f"Bearer {TOKEN}", "***"),
        (BEARER, f"http://{TOKEN.lower()}.evil/", "http://***.evil/"),
        (BEARER, "hf%5FS3cretToken/x", "***/x"),
        (BEARER, "100% of it", "100% of it"),
        (BEARER, "Bearer of news", "Bearer of news"),
        (BASIC, f"a {BASIC['Authorization']}", "a ***"),
        (BASIC, BASIC["Authorization"].removeprefix("Basic "), "***"),
        (BASIC, BASIC["Authorization"].removeprefix("Basic ").rstrip("="), "***"),
        (BASIC, "eva:t0psecret!", "***"),
        (BASIC, "t0psecret! and t0psecret%21", "*** and ***"),
        (BASIC, "eva", "eva"),
        ({"X-Key": "a b/c=d!!"}, "a b/c=d!! a%20b%2Fc%3Dd%21%21", "*** ***"),
        ({"Cookie": "session=0123456789; lang=en"}, "0123456789 lang", "*** lang"),
        ({"Accept": "text/html", "User-Agent": "overbook"}, "text/html overbook", None),
        ({"Authorization": "Basic ///"}, "x", None),
        ({}, "anything", None),
    ],
)
def test_what_is_masked(headers: dict[str, str], said: str, masked: str | None) -> None:
    mask = Mask(headers)
    assert mask.message(said) == mask.value(said) == (said if masked is None else masked)


def test_a_short_password_is_masked_in_messages_and_not_in_names() -> None:
    mask = Mask({"Authorization": basic("eva", "model")})
    assert mask.message("no model there") == "no *** there"
    assert mask.value("model.bin") == "model.bin"
    assert Mask({"X-Key": "abc"}).message("abc") == "abc"


def test_all_texts_of_an_answer() -> None:
    told: Json = {TOKEN: [TOKEN, 1, None, {"a": f"<{TOKEN}>"}], "b": True}
    assert Mask(BEARER).json(told) == {"***": ["***", 1, None, {"a": "<***>"}], "b": True}
    deep: Json = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(ValueError, match="too deep"):
        Mask(BEARER).json(deep)
    assert Mask({}).json(told) is told


def test_two_masks_mask_what_either_does() -> None:
    both = Mask(BEARER) | Mask(BASIC)
    assert both.message(f"{TOKEN} t0psecret!") == "*** ***"


def test_an_error_keeps_all_but_the_secret() -> None:
    error = SourceError(Trouble.BUSY, f"at {TOKEN}", retry_after=3.0)
    masked = Mask(BEARER).error(error)
    assert (masked.trouble, str(masked), masked.retry_after) == (Trouble.BUSY, "at ***", 3.0)
    assert Mask(BASIC).error(error) is error


@example("0000000;", "", "", "bearer")
@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8),
    st.text(),
    st.text(),
    st.sampled_from(["X-Key", "bearer", "basic"]),
)
def test_whatever_the_secret_is(secret: str, before: str, after: str, way: str) -> None:
    value = {"bearer": f"Bearer {secret}", "basic": basic("u", secret)}.get(way, secret)
    mask = Mask({"X-Key" if way == "X-Key" else "Authorization": value})
    encoded = base64.b64encode(f"u:{secret}".encode()).decode()
    for text in (before + secret + after, before + value + after):
        for said in (mask.message(text), mask.value(text)):
            if "***" not in secret:
                assert secret not in said
            if way == "basic":
                assert encoded not in said
