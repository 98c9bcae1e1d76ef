"""How rclone is asked what is there, and what its answer means."""

from __future__ import annotations

import json

import pytest

from overbook.artifacts.sources.protocol import RemoteFile
from overbook.artifacts.sources.rclone import listing
from overbook.artifacts.sources.rclone.listing import Files, Named

from .made import remote, secret

S3 = remote("s3://bucket/models/a", secret())
SFTP = remote("sftp://host/models/a")


def line(path: str, size: int = 3, **more: object) -> bytes:
    told = {"Path": path, "Name": path.rpartition("/")[2], "Size": size, "ModTime": "T"} | more
    return json.dumps(told).encode() + b",\n"


def test_one_address_is_asked_by_itself_and_without_reading_files() -> None:
    asked = listing.question(S3, "")
    assert asked.arguments[-1] == "source:bucket/models/a"
    assert "--hash" in asked.arguments
    assert asked.filters == b""
    assert "--hash" not in listing.question(SFTP, "").arguments


def test_of_a_version_only_its_folder_is_read() -> None:
    asked = listing.question(S3, "3")
    rules = asked.filters.decode().splitlines()
    assert rules[:4] == ["+ /*", "+ /3/**", "+ /03/**", "+ /003/**"]
    assert rules[-1] == "- *"
    assert listing.question(S3, "003").filters == asked.filters
    assert b"+ /1234567890/**" in listing.question(S3, "1234567890").filters
    assert "ListR" in asked.arguments
    assert listing.question(S3, "v[1]").filters == b"+ /*\n+ /v\\[1\\]/**\n- *\n"


def test_several_are_asked_for_by_name() -> None:
    named = [Named("a"), Named("b*", "v2")]
    asked = listing.joint_question(S3, "bucket/models", named, sweep=False)
    assert asked.arguments[-1] == "source:bucket/models"
    assert asked.filters.decode().splitlines() == [
        "+ /a",
        "+ /a/**",
        "+ /b\\*",
        "+ /b\\*/*",
        "+ /b\\*/v2/**",
        "- *",
    ]
    assert "--fast-list" not in asked.arguments
    swept = listing.joint_question(S3, "bucket/models", named, sweep=True)
    assert "--fast-list" in swept.arguments
    assert swept.filters == asked.filters


def test_an_answer_is_read_while_it_comes() -> None:
    files = Files()
    for each in (b"[\n", line("x/model.bin", Hashes={"md5": "abc"}), line("settings.json"), b"]\n"):
        assert files.take(each)
    assert files.found == (
        RemoteFile("x/model.bin", 3, "md5:abc"),
        RemoteFile("settings.json", 3, "time:T"),
    )
    assert (listing.md5_of(files.found[0]), listing.time_of(files.found[0])) == ("abc", "")
    assert (listing.md5_of(files.found[1]), listing.time_of(files.found[1])) == ("", "T")


def test_the_mark_of_a_folder_is_no_file() -> None:
    files = Files()
    files.take(line("x/", 0))
    files.take(line("", 0))
    assert files.found == ()


def test_a_size_that_is_not_known() -> None:
    files = Files()
    files.take(line("a", -1))
    assert files.found[0].size is None


def test_more_than_a_model_has_is_not_read_to_its_end() -> None:
    files = Files(most=2)
    assert [files.take(line(f"f{i}")) for i in range(3)] == [True, True, False]
    assert files.too_many


def test_names_that_stand_on_no_line_are_not_asked_for_with_others() -> None:
    assert listing.can_be_named("model (1) [x].bin")
    assert not listing.can_be_named(" model")
    assert not listing.can_be_named("a\u2028b")


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("", ["config", "1/m", "03/m", "3/n", "x/3/m"]),
        ("3", ["config", "3/n"]),
        ("03", ["config", "03/m"]),
        ("001", ["config", "1/m"]),
        ("x", ["config", "x/3/m"]),
        ("4", []),
    ],
)
def test_files_of_a_version(version: str, names: list[str]) -> None:
    every = [RemoteFile(n, 1, "") for n in ("config", "1/m", "03/m", "3/n", "x/3/m")]
    assert [each.name for each in listing.of_version("s3://b/m", every, version)] == names


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("m.bin", False),
        ("m.tar", True),
        ("m.TGZ", True),
        ("m.tar.gz", True),
        ("m.zip", True),
        ("m.gz", False),
    ],
)
def test_a_single_object_has_its_own_name(name: str, whole: bool) -> None:
    made = listing.of_object(
        remote(f"s3://bucket/models/{name}", secret()), RemoteFile(name, 3, "md5:a")
    )
    assert made.whole is whole
    assert made.files == (RemoteFile(name, 3, "md5:a", "", f"bucket/models/{name}"),)


def test_an_archive_in_a_folder_is_a_file_as_any() -> None:
    made = listing.of_folder(S3, [RemoteFile("x/m.zip", 3, "md5:a")])
    assert not made.whole
    assert made.files[0].origin == "bucket/models/a/x/m.zip"


def test_what_may_be_a_single_object() -> None:
    assert listing.maybe_single(S3, (RemoteFile("a", 3, ""),))
    assert not listing.maybe_single(S3, (RemoteFile("b", 3, ""),))
    assert not listing.maybe_single(S3, (RemoteFile("a", 3, ""), RemoteFile("b", 3, "")))
