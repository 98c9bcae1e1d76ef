"""What people choose goes before the pins, and nothing that the server itself is made of can be chosen."""

from __future__ import annotations

import pytest

from overbook.runtimes.catalogue import UnknownExtra, runtime
from overbook.runtimes.recipe import (
    Recipe,
    UnusableRequirement,
    chosen,
    implied,
    merged,
    missing,
    normal,
    offered,
    present,
    split_words,
    unchosen,
    wanted_lines,
)

MLSERVER, TRITON = runtime("mlserver"), runtime("triton")


def test_commas_separate_words_but_not_versions() -> None:
    given = ["xgboost, scikit-learn>=1.6,<1.7,pandas", "ray[serve,tune]==2,", ""]
    assert split_words(given) == [
        *("xgboost", "scikit-learn>=1.6,<1.7", "pandas", "ray[serve,tune]==2"),
    ]


def test_words_are_extras_or_packages_and_a_package_may_bring_its_extra() -> None:
    extras, packages = chosen(MLSERVER, ["lightgbm", "XGBoost_CPU==3.2", "Scikit_Learn==1.6.1"])
    assert extras == {"lightgbm", "xgboost"}
    assert packages == ("scikit-learn==1.6.1", "xgboost-cpu==3.2")
    assert implied(MLSERVER, ["xgboost"]) == {"xgboost"}
    with pytest.raises(UnknownExtra):
        chosen(MLSERVER, ["scikit-learn"])


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("mlserver==1.6", "'mlserver==1.6' cannot be chosen: what Overbook adds"),
        ("mlserver-xgboost>1", "cannot be chosen"),
        ("scikit-learn=1.6", "is not a requirement; expected NAME and versions"),
    ],
)
def test_what_cannot_be_chosen(word: str, reason: str) -> None:
    with pytest.raises(UnusableRequirement, match=reason):
        normal(MLSERVER, [word])


def test_later_choices_replace_earlier_ones_and_the_pin_ends_them() -> None:
    before = normal(MLSERVER, ["scikit-learn==1.6.1", "polars==1", "polars==2"])
    assert before == ("polars==2", "scikit-learn==1.6.1")
    assert merged(MLSERVER, before, ("scikit-learn==1.7",)) == ("polars==2", "scikit-learn==1.7")
    pin = MLSERVER.pins()["scikit-learn"]
    assert merged(MLSERVER, before, (f"scikit-learn=={pin}",)) == ("polars==2",)


def test_every_choice_is_another_environment() -> None:
    plain = Recipe(MLSERVER, frozenset({"onnx"}))
    other = Recipe(MLSERVER, frozenset({"onnx"}), ("scikit-learn==1.6.1",))
    assert plain.folder_name == MLSERVER.folder_name({"onnx"}) != other.folder_name
    assert other.title == "mlserver with scikit-learn==1.6.1"
    assert plain.title == "mlserver"


def test_the_resolver_is_asked_for_the_server_as_pinned_and_for_the_rest_as_it_may_be() -> None:
    lines = wanted_lines(Recipe(MLSERVER, frozenset({"onnx", "xgboost"})), set())
    assert {"mlserver==1.7.1", "mlserver-xgboost==1.7.1", "scikit-learn", "uvloop<0.22"} <= {*lines}
    assert "xgboost-cpu" in lines or "xgboost" in lines
    assert "xgboost-cpu" not in wanted_lines(
        Recipe(MLSERVER, frozenset({"xgboost"}), ("xgboost==2",)), {"xgboost"}
    )
    # Triton's package is installed without what it asks for, so the resolver must not see it.
    assert wanted_lines(Recipe(TRITON, frozenset()), set()) == ["numpy<2"]


def test_what_nobody_shall_get_may_be_chosen() -> None:
    assert "matplotlib" in unchosen(MLSERVER, set())
    assert "matplotlib" not in unchosen(MLSERVER, {"matplotlib"})
    assert unchosen(TRITON, set()) == []


def test_what_an_archive_lacks_and_offers() -> None:
    recipe = Recipe(MLSERVER, frozenset())
    here = {"mlserver": "1.7.1", "mlserver-sklearn": "1.7.1", "scikit-learn": "1.6.1"}
    assert missing(recipe, here) == ["uvloop<0.22", "psutil>=6", "httptools"]
    assert missing(recipe, here | {"uvloop": "0.22", "psutil": "7", "httptools": "1"}) == [
        "uvloop<0.22"
    ]
    assert present(MLSERVER, {"mlserver-xgboost", "xgboost-cpu"}) == {"xgboost"}
    assert offered({"xgboost-cpu": "3", "numpy": "2"}) == (
        *("numpy==2", "xgboost==3", "xgboost-cpu==3"),
    )
