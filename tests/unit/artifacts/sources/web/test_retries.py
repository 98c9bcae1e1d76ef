"""When another try is made, and after how long."""

from __future__ import annotations

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.web.retries import Manners, retry_after

MANNERS = Manners(backoff=1.0, patience=60.0, tries=4)
NOW = 1_800_000_000.0


def error(trouble: Trouble, seconds: float | None = None) -> SourceError:
    return SourceError(trouble, "x", retry_after=seconds)


def test_waits_double_and_are_spread() -> None:
    waits = [MANNERS.wait_after(error(Trouble.UNREACHABLE), tries, 0.5) for tries in (1, 2, 3)]
    assert waits == [1.0, 2.0, 4.0]
    assert MANNERS.wait_after(error(Trouble.UNREACHABLE), 1, 0.0) == 0.5
    assert MANNERS.wait_after(error(Trouble.UNREACHABLE), 1, 1.0) == 1.5


def test_the_last_try_is_the_last() -> None:
    assert MANNERS.wait_after(error(Trouble.UNREACHABLE), 4, 0.5) is None


@pytest.mark.parametrize(
    "trouble", [each for each in Trouble if each not in (Trouble.UNREACHABLE, Trouble.BUSY)]
)
def test_what_the_same_request_would_find_again_is_not_tried_again(trouble: Trouble) -> None:
    assert MANNERS.wait_after(error(trouble), 1, 0.5) is None


def test_a_server_that_names_a_time_is_obeyed() -> None:
    wait = MANNERS.wait_after(error(Trouble.BUSY, 30.0), 1, 0.5)
    assert wait is not None
    assert 30.0 <= wait <= 31.0


def test_a_time_that_is_too_long_is_left_to_who_called() -> None:
    assert MANNERS.wait_after(error(Trouble.BUSY, 61.0), 1, 0.5) is None


def test_backoff_has_an_end() -> None:
    patient = Manners(backoff=1.0, tries=100)
    assert patient.wait_after(error(Trouble.UNREACHABLE), 99, 0.5) == 20.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 120 ", 120.0),
        ("0", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        # It is asked again then, and people are told so.
        ("999999999", 3600.0),
        ("9" * 400, 3600.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600.0),
    ],
)
def test_retry_after_is_read(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}, NOW) == seconds


def test_a_date_is_compared_with_the_clock_of_the_server() -> None:
    headers = {
        "retry-after": "Fri, 15 Jan 2027 10:00:30 GMT",
        "date": "Fri, 15 Jan 2027 10:00:00 GMT",
    }
    assert retry_after(headers, NOW) == 30.0
