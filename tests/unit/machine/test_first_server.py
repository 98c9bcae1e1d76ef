"""What `up` says of the Server that it makes: the overcommit, where that comes from, and what to try."""

from __future__ import annotations

import pytest

from overbook.machine.first_server import FIRST_SERVER, said
from overbook.manifests.validate import validate_object

SELDON = {"SELDON_OVERCOMMIT_PERCENTAGE": "25"}


def test_the_manifest_is_one() -> None:
    assert validate_object(FIRST_SERVER).warnings == ()


@pytest.mark.parametrize(
    ("overcommit", "option", "environ", "why"),
    [
        (10, None, {}, "(Seldon's default)"),
        (10, None, {"SELDON_OVERCOMMIT_PERCENTAGE": " "}, "(Seldon's default)"),
        (25, None, SELDON, "(as SELDON_OVERCOMMIT_PERCENTAGE says)"),
        (30, 30, SELDON, "(as --overcommit says)"),
    ],
)
def test_why_so_much_may_be_registered(
    overcommit: int, option: int | None, environ: dict[str, str], why: str
) -> None:
    first, hint = said(2 << 30, overcommit, option=option, environ=environ)
    assert first == (
        f"no Server given: mlserver with 2GiB for models; {overcommit} % more may be registered than fit {why}"
    )
    assert "--overcommit 100" in hint


def test_nothing_is_offered_to_who_has_it() -> None:
    assert len(said(2 << 30, 100, option=100, environ={})) == 1
