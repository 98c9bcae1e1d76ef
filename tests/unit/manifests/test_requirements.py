"""Requirements with versions: what they are met by, and what is none."""

from __future__ import annotations

import pytest

from overbook.manifests.requirements import (
    check_word,
    is_versioned,
    plain_word,
    unmet,
    versions_offered,
    words_offered,
)

OFFERED = frozenset(
    {"mlserver", "sklearn", "scikit-learn==1.6.1", "Numpy==2.0", "odd==not-a-version", "torch==2.1"}
)


@pytest.mark.parametrize(
    "word",
    [
        "sklearn",
        "scikit-learn==1.6.*",
        "Scikit_Learn>=1.5,<1.7",
        "sklearn~=1.6.0",
        "pytorch>=2",
        "numpy!=1.26",
        "scikit-learn==1.6.1",
    ],
)
def test_what_is_met(word: str) -> None:
    assert unmet([word], OFFERED) == []


@pytest.mark.parametrize(
    "word",
    ["xgboost", "scikit-learn", "scikit-learn==1.9.*", "pandas>=1", "odd==1", "scikit-learn=1.6"],
)
def test_what_is_not(word: str) -> None:
    assert unmet(["sklearn", word], OFFERED) == [word]


def test_versions_and_words_are_told_apart() -> None:
    assert words_offered(OFFERED) == ["mlserver", "sklearn"]
    both = frozenset({"scikit-learn==1.10", "scikit-learn==1.9"})
    assert versions_offered("sklearn==2", both) == ["1.9", "1.10"]
    assert versions_offered("pandas==2", both) == []
    assert is_versioned("xgboost<3")
    assert plain_word("xgboost <3") == "xgboost"
    assert plain_word("xgboost") == "xgboost"


def test_what_looks_like_a_requirement_must_be_one() -> None:
    for fine in ("any word", "scikit-learn==1.6.*"):
        check_word(fine)
    with pytest.raises(
        ValueError, match=r"'scikit-learn=1\.6' is not a requirement; expected NAME"
    ):
        check_word("scikit-learn=1.6")
    for more in ("a==1; python_version<'3'", "a[b]==1"):
        with pytest.raises(ValueError, match="says more than a name and versions"):
            check_word(more)
