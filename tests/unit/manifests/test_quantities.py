"""Quantities: what they mean, what is refused, and that what we print reads back."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from overbook.manifests.quantities import MAX_BYTES, amount, format_bytes, parse_bytes

_MULTIPLES = {
    "": 1,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("100Ki", 102_400),
        ("1.5Gi", 1_610_612_736),
        ("2e9", 2_000_000_000),
        ("2E3", 2_000),
        ("1E", 10**18),
        ("500M", 500_000_000),
        ("+7", 7),
        ("0", 0),
        (".5k", 500),
        (7, 7),
        (2e9, 2_000_000_000),
        # Kubernetes rounds what is smaller than a byte up.
        ("0.1", 1),
        (0.5, 1),
        (str(MAX_BYTES), MAX_BYTES),
    ],
)
def test_means_bytes(value: str | int | float, expected: int) -> None:
    assert parse_bytes(value) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("100Qi", "'100Qi' is not a quantity; expected bytes such as 100Ki, 1.5Gi or 2e9"),
        ("100m", "'100m' is a fraction of a byte; expected bytes such as 100Ki, 1.5Gi or 2e9"),
        ("-1Gi", "'-1Gi' is negative; expected bytes such as 100Ki, 1.5Gi or 2e9"),
        (-1, "-1 is negative"),
        ("", "'' is not a quantity"),
        ("1 Gi", "'1 Gi' is not a quantity"),
        ("1Gib", "'1Gib' is not a quantity"),
        ("KiB", "'KiB' is not a quantity"),
        ("1e999", "more than 2^63 - 1"),
        ("8Ei", "more than 2^63 - 1"),
        ("١Gi", "is not a quantity"),
        (float("nan"), "nan is not a quantity"),
        (float("inf"), "inf is not a quantity"),
        (True, "true is not a quantity"),
    ],
)
def test_refuses_with_the_value_and_what_was_expected(
    value: str | int | float, reason: str
) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the text is compared below
        parse_bytes(value)
    assert reason in str(refused.value)


@settings(deadline=None)
@given(st.integers(0, MAX_BYTES))
def test_plain_numbers_mean_themselves(count: int) -> None:
    assert parse_bytes(count) == count
    assert parse_bytes(str(count)) == count


@settings(deadline=None)
@given(st.decimals(0, 4000, places=2), st.sampled_from(sorted(_MULTIPLES)))
def test_suffixes_multiply_and_round_up(number: Decimal, suffix: str) -> None:
    exact = number * _MULTIPLES[suffix]
    found = parse_bytes(f"{number:f}{suffix}")
    assert exact <= found < exact + 1


@settings(deadline=None)
@given(st.integers(0, MAX_BYTES))
def test_what_is_printed_reads_back_within_half_a_percent(count: int) -> None:
    text = format_bytes(count)
    # The largest number may print as 8EiB, one more than can be read.
    back = parse_bytes(text.removesuffix("B")) if text != "8EiB" else 2**63
    assert abs(back - count) <= max(1, count * 0.005)


@settings(deadline=None)
@example(224, "k")  # 218.75KiB: exact, but only with both decimals
@given(st.integers(1, 999), st.sampled_from(["", "Ki", "Mi", "Gi"]))
def test_whole_multiples_read_back_exactly(number: int, suffix: str) -> None:
    count = number * _MULTIPLES[suffix]
    assert parse_bytes(format_bytes(count).removesuffix("B")) == count


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1023, "1023B"),
        (102_400, "100KiB"),
        (224_000, "218.75KiB"),
        (224_001, "218.8KiB"),
        (1_610_612_736, "1.5GiB"),
        (10_000_000, "9.54MiB"),
        (1_234_567, "1.18MiB"),
        (2**20 - 1, "1MiB"),
        (-1024, "-1KiB"),
    ],
)
def test_prints_short(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1536, "1.5KiB (1536 bytes)"),
        (-2048, "-2KiB (-2048 bytes)"),
        (5 << 29, "2.5GiB (2684354560 bytes)"),
    ],
)
def test_amounts_are_readable_and_exact(count: int, text: str) -> None:
    assert amount(count) == text
