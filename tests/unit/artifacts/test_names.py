"""Names of an artifact's files: what is refused, by which rule, and that what is left can lie in any folder."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.names import MAX_NAME, MAX_PART, refuse_names
from overbook.artifacts.walk import MAX_ENTRIES

SOURCE = "s3://models/iris"
# Parts that get in each other's way more often than chance would have it.
PARTS = st.sampled_from(["a", "A", "b", "ä", "ä", "ß", "ss", "..", ".", "", "x\\y", "n\n"])
NAMES = st.lists(
    st.one_of(st.text(max_size=6), st.lists(PARTS, max_size=3).map("/".join)), max_size=6
)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "is empty"),
        ("/etc/passwd", "is absolute"),
        ("//a", "is absolute"),
        ("../a", "has '..' in it"),
        ("a/../../b", "has '..' in it"),
        ("a/..", "has '..' in it"),
        ("./a", "has '.' in it"),
        ("a//b", "has an empty part"),
        ("a/", "has an empty part"),
        ("a\\b", "has a backslash"),
        ("a\nb", "has a control character"),
        ("a\0b", "has a control character"),
        ("a\x7f", "has a control character"),
        ("a\x85b", "has a control character"),
        ("a\u2028b", "has a control character"),
        ("exe.\u202exnno", "has a control character"),
        ("a\udcff", "is no valid UTF-8"),
        ("n" * (MAX_PART + 1), "has a part of 256 bytes"),
        ("ä" * 128, "has a part of 256 bytes"),
        ("/".join(["n" * 205] * 5), "has 1029 bytes"),
        (".overbook-partial", "Overbook keeps for itself"),
        ("a/.Overbook-x/b", "Overbook keeps for itself"),
    ],
)
def test_a_name_that_breaks_a_rule(name: str, rule: str) -> None:
    with pytest.raises(SourceError) as raised:
        refuse_names(["config.json", name], SOURCE)
    assert raised.value.trouble is Trouble.REFUSED
    assert not raised.value.passing
    said = str(raised.value)
    assert said.startswith(f"{SOURCE}: name ")
    assert rule in said
    assert said.isprintable()


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        (["a", "a"], "is there twice"),
        (["a", "a/b"], "lies in 'a', which is a file or link"),
        (["a/b/c", "a/b"], "is both a file and a folder"),
        (["Model.onnx", "model.onnx"], "and 'Model.onnx' differ only in case"),
        (["a/1", "A/2"], "and 'a' differ only in case"),
        (["A", "a/b"], "and 'A' differ only in case"),
        (["\u00e4", "a\u0308"], "or Unicode normal form"),
        (["STRASSE", "straße"], "differ only in case"),
        (["\u212b", "\u00e5"], "differ only in case"),
    ],
)
def test_names_that_are_in_the_way_of_each_other(names: list[str], rule: str) -> None:
    with pytest.raises(SourceError) as raised:
        refuse_names(names, SOURCE)
    assert rule in str(raised.value)
    with pytest.raises(SourceError):
        refuse_names(reversed(names), SOURCE)


def test_names_as_models_have_them() -> None:
    refuse_names(
        [
            "model.onnx",
            "1/model.savedmodel/variables/variables.data-00000-of-00001",
            ".gitattributes",
            "..data",
            "Größe und Gewicht (1).txt",
            "模型.bin",
            "x²",
            "x2",
            "👩\u200d🔬.txt",
            "n" * MAX_PART,
            "/".join(["n" * 204] * 5),
        ],
        SOURCE,
    )
    assert len("/".join(["n" * 204] * 5)) == MAX_NAME


def test_folders_count_as_entries() -> None:
    refuse_names((f"{number}/m" for number in range(MAX_ENTRIES // 2)), SOURCE)
    with pytest.raises(SourceError, match=f"more than {MAX_ENTRIES} entries"):
        refuse_names((f"{number}/m" for number in range(MAX_ENTRIES // 2 + 1)), SOURCE)


def test_a_list_without_end_is_given_up() -> None:
    def names() -> object:
        number = 0
        while True:
            yield str(number)
            number += 1

    with pytest.raises(SourceError, match="more than"):
        refuse_names(names(), SOURCE)  # type: ignore[arg-type]


@given(NAMES)
def test_what_is_allowed_can_be_laid_into_any_folder(names: list[str]) -> None:
    """One file each, inside the folder, whatever the file system takes for the same name."""
    try:
        refuse_names(names, SOURCE)
    except SourceError:
        return
    folders = {str(each) for name in names for each in PurePosixPath(name).parents} - {"."}
    assert not folders & set(names)
    for form in ("NFC", "NFD"):
        for every in (names, folders):
            same = {unicodedata.normalize(form, name).lower() for name in every}
            assert len(same) == len(every)
    for name in names:
        assert name.isprintable() or any(
            unicodedata.category(c) in ("Zs", "Cf", "Cn", "Co") for c in name
        )
        assert str(PurePosixPath("/root", name).relative_to("/root")) == name
        assert ".." not in name.split("/")
