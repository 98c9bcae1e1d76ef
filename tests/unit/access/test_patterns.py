"""Patterns of models' names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.access import patterns

pieces = st.lists(st.text("ab.-*", max_size=5), max_size=3).map("".join)


@given(pieces.filter(lambda text: text.count("*") <= 2), st.text("ab.-", max_size=12))
def test_they_match_as_a_regular_expression_would(pattern: str, name: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None
    assert patterns.matches(pattern, name) is expected


@pytest.mark.parametrize("pattern", ["team-a-*", "*", "*-v2", "a*b*", "exact.name_1"])
def test_good_ones(pattern: str) -> None:
    assert patterns.problem(pattern) == ""


@pytest.mark.parametrize("pattern", ["", "a/b", "a b", "***", "a*b*c*", "x" * 254, "a\n", "ä"])
def test_bad_ones_say_what_is_expected(pattern: str) -> None:
    assert "team-a-*" in patterns.problem(pattern)
