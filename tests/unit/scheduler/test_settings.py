"""Defaults of Servers that do not say."""

from __future__ import annotations

import pytest

from overbook.scheduler.errors import Invalid
from overbook.scheduler.manifests_in import Defaults
from overbook.scheduler.part import default_settings


@pytest.mark.parametrize(
    ("environ", "overcommit"),
    [
        ({}, 10),
        ({"SELDON_OVERCOMMIT_PERCENTAGE": "35"}, 35),
        ({"SELDON_OVERCOMMIT_PERCENTAGE": ""}, 10),
    ],
)
def test_overcommit_from_the_environment(environ: dict[str, str], overcommit: int) -> None:
    assert default_settings(environ) == Defaults(None, overcommit)


def test_what_is_given_wins() -> None:
    environ = {"SELDON_OVERCOMMIT_PERCENTAGE": "35"}
    assert default_settings(environ, memory=5, overcommit=0) == Defaults(5, 0)


@pytest.mark.parametrize("text", ["ten", "-1", "1.5", "²"])
def test_a_variable_that_is_no_percentage(text: str) -> None:
    with pytest.raises(Invalid, match=r"SELDON_OVERCOMMIT_PERCENTAGE: .* is not a percentage"):
        default_settings({"SELDON_OVERCOMMIT_PERCENTAGE": text})
