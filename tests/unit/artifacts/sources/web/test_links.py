"""Links are found where people see them, and no page takes longer than its length says."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overbook.artifacts.sources.web.links import LONGEST, TooMuch, links


def found(page: str) -> list[str]:
    return list(links(page))


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ('<a href="x">', ["x"]),
        ("<A HREF='x'>", ["x"]),
        ("<a href=x>", ["x"]),
        ("<a class=b href = 'x y' title=\"c\">", ["x y"]),
        ('<a\nhref="a&amp;b&#x21;">', ["a&b!"]),
        ('<a href="x"/>', ["x"]),
        ('<a href="a>b">', ["a>b"]),
        ('<a title="<a href=no>" href="x">', ["x"]),
        ("<a href>", []),
        ('<a href="">', []),
        ('<a data-href="no">', []),
        ('<abbr href="no"><link href="no"><area href="no">', []),
        ('text href="no"', []),
        ('<!-- <a href="no"> --><a href="x">', ["x"]),
        ('<script>"<a href=no>"</script ><a href="x">', ["x"]),
        ("<STYLE><a href=no></style><a href=x>", ["x"]),
        ('<a href="x"><!-- <a href="no">', ["x"]),
        ('<a href="x"><script><a href="no">', ["x"]),
        (f'<a href="{"x" * (LONGEST + 1)}"><a href="x">', ["x"]),
        (f'<a href="&#{"9" * 5000};"><a href="x">', ["x"]),
    ],
)
def test_what_is_a_link(page: str, expected: list[str]) -> None:
    assert found(page) == expected


SHAPES = [
    "<!--", "<!", "<![", "<!-", "<a ", "<a", "<", "&", "&#", "<a href", "<a href=", '<a href="', "<a b='",
    "<script>", "</script", "<style ", "<a =", "<a\n", "<a/", "<?", "</", "--", " ", '"', "'", "<a x= ", "<a href=&",
]  # fmt: skip


def seconds(page: str) -> float:
    """Of this thread's own, the least of three times."""

    def once() -> float:
        began = time.thread_time()
        try:
            found(page)
        except TooMuch:
            pass
        return time.thread_time() - began

    return min(once() for _ in range(3))


def grows_as_it_should(before: str, shape: str) -> bool:
    """Eight times the page takes no more than some eight times as long; squared it would be 64 times."""
    sizes = (8 * 1024, 64 * 1024)
    less, more = (seconds(before + shape * (size // len(shape))) for size in sizes)
    return more < 24 * less + 0.002


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("before", ["", "<a ", '<a href="', "<!--", "<script>"])
def test_the_time_grows_with_the_page_and_not_with_its_square(before: str, shape: str) -> None:
    assert grows_as_it_should(before, shape)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([*SHAPES, ">", "=", "a", "href", "-->", "/"]), min_size=1, max_size=6)
)
def test_whatever_is_said_over_and_over(parts: list[str]) -> None:
    assert grows_as_it_should("", "".join(parts))


@pytest.mark.parametrize("shape", ["<a ", "<a>", "<a href=x>"])
def test_more_tags_than_a_list_has_end_it(shape: str) -> None:
    with pytest.raises(TooMuch, match="more than 400000 tags and attributes"):
        found(shape * 400_001)
