"""Names are of one kind on a page, and what is written reads back as it was."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from overbook.metrics.families import Family, Names, Series, merged, text_of


@pytest.fixture
def names() -> Names:
    return Names()


def test_a_name_is_of_the_kind_that_came_first(names: Names) -> None:
    assert names.claim("a", "rows", "counter")
    assert names.claim("b", "rows", "counter")
    assert not names.claim("c", "rows", "gauge")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("rows", "histogram"), ("rows_count", "gauge")),
        (("rows_count", "gauge"), ("rows", "histogram")),
        (("rows", "summary"), ("rows_sum", "counter")),
        (("rows", "histogram"), ("rows", "summary")),
    ],
)
def test_names_of_samples_clash_too(
    names: Names, first: tuple[str, str], second: tuple[str, str]
) -> None:
    assert names.claim("a", *first)
    assert not names.claim("b", *second)


def test_overbooks_own_are_nobodys(names: Names) -> None:
    assert not names.claim("a", "overbook_requests_total", "counter")


def test_what_nobody_uses_any_more_is_free(names: Names) -> None:
    names.claim("a", "rows", "histogram")
    names.claim("b", "rows", "histogram")
    names.release("a")
    assert not names.claim("c", "rows_sum", "gauge")
    names.release("b")
    assert names.claim("c", "rows_sum", "gauge")
    names.release("nobody")


def test_who_alone_uses_a_name_may_change_its_kind(names: Names) -> None:
    names.claim("a", "rows", "histogram")
    names.claim("a", "level", "gauge")
    assert names.claim("a", "rows", "counter")
    assert not names.claim("b", "level", "counter")
    assert names.claim("b", "rows_count", "gauge")


def test_families_of_many_become_one() -> None:
    one = Family("rows", "counter", "Rows.", [Series("rows", (("model", "a"),), 1.0)])
    other = Family("rows", "counter", "Others' rows.", [Series("rows", (("model", "b"),), 2.0)])
    first = Family("a", "gauge", "", [Series("a", (), 0.0)])
    found = merged([one, other, first])
    assert [each.name for each in found] == ["a", "rows"]
    assert found[1] == Family("rows", "counter", "Rows.", [*one.series, *other.series])
    assert len(one.series) == 1


def test_text_reads_back_as_it_was() -> None:
    odd = 'a "quoted"\\ thing\nof two lines'
    written = text_of(
        [
            Family("level", "gauge", odd, [Series("level", (("of", odd),), float("nan"))]),
            Family(
                "size",
                "histogram",
                "Sizes.",
                [
                    Series("size_bucket", (("le", "1.0"),), 2.0),
                    Series("size_bucket", (("le", "+Inf"),), 3.0),
                    Series("size_count", (), 3.0),
                    Series("size_sum", (), float("inf")),
                ],
            ),
        ]
    )
    level, size = text_string_to_metric_families(written)
    assert (level.name, level.type, level.documentation) == ("level", "gauge", odd)
    assert level.samples[0].labels == {"of": odd}
    assert str(level.samples[0].value) == "nan"
    assert [(each.name, each.labels, each.value) for each in size.samples] == [
        ("size_bucket", {"le": "1.0"}, 2.0),
        ("size_bucket", {"le": "+Inf"}, 3.0),
        ("size_count", {}, 3.0),
        ("size_sum", {}, float("inf")),
    ]


def test_a_counter_keeps_its_name() -> None:
    family = Family("nv_inference_count", "counter", "n", [Series("nv_inference_count", (), -0.5)])
    assert text_of([family]).splitlines() == [
        "# HELP nv_inference_count n",
        "# TYPE nv_inference_count counter",
        "nv_inference_count -0.5",
    ]
    assert "x -Inf" in text_of([Family("x", "gauge", "", [Series("x", (), float("-inf"))])])
