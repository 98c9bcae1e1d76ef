"""Nothing that a terminal would obey is left of others' text, and all of what people read is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.manifests.plain_text import plain_text

OBEYED = set(map(chr, (*range(9), *range(11, 32), *range(127, 160))))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("plain, äöü 你好 …", "plain, äöü 你好 …"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07\x1b]8;;http://x\x1b\\link", "link"),
        ("\x1b]52;c;cm0gLXJmIH4=\x07clipboard", "clipboard"),
        ("\x1bPqdevice\x1b\\\x1b_application\x1b\\\x1b^privacy\x07said", "said"),
        ("\x1b", "\\x1b"),
        ("turned \u202e", "turned \\u202e"),
    ],
)
def test_sequences_go_and_characters_are_seen(text: str, plain: str) -> None:
    assert plain_text(text) == plain


@given(st.text(st.sampled_from("\x1b[]0;m\x07\\P_^\x9b\x00ax\n\u202e"), max_size=40))
def test_nothing_is_left_whatever_stands_around_it(text: str) -> None:
    plain = plain_text(text)
    assert not OBEYED & set(plain)
    assert plain_text(plain) == plain
