"""The files: numbered over restarts, bounded, private, whole after a crash and on a full disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from overbook.scheduler.audit.entries import Entry
from overbook.scheduler.audit.files import AuditFiles, NotWritten, Page, Sizes, Wanted


def change(name: str = "iris", outcome: str = "done") -> Entry:
    return {"time": "2026-11-30T20:15:00.000Z", "name": name, "outcome": outcome}


def refusal(name: str = "iris") -> Entry:
    return change(name, "refused")


every = Wanted()


def names(found: Sequence[Entry]) -> list[object]:
    return [each["name"] for each in found]


def size(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.iterdir())


def test_entries_are_read_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    files = AuditFiles(tmp_path / "audit", Sizes())
    assert files.after(0, every, 10).entries == ()
    assert files.last(every, 10).entries == ()
    files.append([change("a"), refusal("b")], 0)
    files.append([refusal("c"), change("d")], 0)
    found = files.after(0, every, 10).entries
    assert names(found) == ["a", "b", "c", "d"]
    assert [each["seq"] for each in found] == [1, 2, 3, 4]
    assert names(files.after(1, every, 2).entries) == ["b", "c"]
    assert names(files.last(every, 2).entries) == ["c", "d"]
    assert names(files.last(Wanted(lambda each: each["name"] == "a", b'"a"'), 2).entries) == ["a"]


def test_who_follows_need_not_look_at_the_same_again(tmp_path: Path) -> None:
    files = AuditFiles(tmp_path / "audit", Sizes())
    files.append([change("a"), refusal("b"), change("c")], 0)
    assert files.after(0, Wanted(lambda each: False), 10) == Page((), 3)
    assert files.after(0, every, 2).last == 2
    assert files.last(Wanted(lambda each: False), 10) == Page((), 3)
    # Somebody took the files away: numbers begin again, and whoever remembers larger ones gets all there is.
    assert names(files.after(9, every, 10).entries) == ["a", "b", "c"]


def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    AuditFiles(tmp_path, Sizes()).append([change("a"), refusal("b")], 0)
    again = AuditFiles(tmp_path, Sizes())
    again.append([change("c")], 2)
    found = again.after(0, every, 10).entries
    assert [(each["seq"], each["name"], each["lost"]) for each in found] == [
        (1, "a", 0),
        (2, "b", 0),
        (3, "c", 2),
    ]


def test_nobody_else_can_read_them(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        AuditFiles(tmp_path / "audit", Sizes()).append([change(), refusal()], 0)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "audit").stat().st_mode) == 0o700
    for each in (tmp_path / "audit").iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600


def test_all_of_it_is_bounded_and_the_latest_is_kept(tmp_path: Path) -> None:
    sizes = Sizes(changes=4_000, refusals=2_000, kept=3)
    files = AuditFiles(tmp_path, sizes)
    for number in range(1_000):
        files.append([change(str(number))], 0)
    assert size(tmp_path) <= 4 * 4_000
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "changes.jsonl",
        *(f"changes.jsonl.{each}" for each in (1, 2, 3)),
    ]
    found = files.after(0, every, 1_000).entries
    assert names(found) == [str(each) for each in range(1_000 - len(found), 1_000)]
    assert len(found) > 80
    assert names(files.last(every, 3).entries) == ["997", "998", "999"]
    assert names(AuditFiles(tmp_path, sizes).after(996, every, 10).entries) == [
        "996",
        "997",
        "998",
        "999",
    ]


def test_one_huge_batch_stays_within_the_bound(tmp_path: Path) -> None:
    files = AuditFiles(tmp_path, Sizes(changes=4_000, refusals=2_000, kept=3))
    files.append([change(str(number)) for number in range(1_000)], 0)
    assert size(tmp_path) <= 4 * 4_000
    assert names(files.last(every, 1).entries) == ["999"]


def test_who_is_refused_pushes_out_no_change(tmp_path: Path) -> None:
    files = AuditFiles(tmp_path, Sizes(changes=4_000, refusals=2_000, kept=1))
    files.append([change("kept")], 0)
    for _ in range(20):
        files.append([refusal() for _ in range(100)], 0)
    assert names(files.after(0, every, 1).entries) == ["kept"]
    assert size(tmp_path) < 3 * 2_000


@pytest.mark.parametrize("spoiled", [b'{"seq": 3, "na', b"\x00" * 5_000])
def test_what_a_crash_left_of_a_line_spoils_no_other(tmp_path: Path, spoiled: bytes) -> None:
    AuditFiles(tmp_path, Sizes()).append([change("a"), change("b")], 0)
    with (tmp_path / "changes.jsonl").open("ab") as file:
        file.write(spoiled)
    again = AuditFiles(tmp_path, Sizes())
    again.append([change("c")], 0)
    assert names(again.after(0, every, 10).entries) == ["a", "b", "c"]


def test_what_somebody_wrote_into_it_is_passed_over(tmp_path: Path) -> None:
    AuditFiles(tmp_path, Sizes()).append([change("a")], 0)
    with (tmp_path / "changes.jsonl").open("ab") as file:
        file.write(b'{"seq": 2, spoiled}\nhello\n\n')
    again = AuditFiles(tmp_path, Sizes())
    again.append([change("b")], 0)
    assert names(again.after(0, every, 10).entries) == ["a", "b"]


def test_where_nothing_can_be_written_it_says_how_many(tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("in the way")
    with pytest.raises(NotWritten) as caught:
        AuditFiles(tmp_path / "audit", Sizes()).append([change(), refusal()], 0)
    assert caught.value.count == 2
    files = AuditFiles(tmp_path / "other", Sizes())
    files.append([refusal()], 0)
    (tmp_path / "other" / "changes.jsonl").mkdir()
    with pytest.raises(NotWritten) as caught:
        files.append([change(), change(), refusal("b")], 0)
    assert caught.value.count == 2


def test_half_of_a_batch_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = AuditFiles(tmp_path, Sizes())
    files.append([change("a")], 0)
    real = os.write
    full = [10]

    def write(file: int, data: bytes) -> int:
        if not full[0]:
            raise OSError(28, "No space left on device")
        count, full[0] = full[0], 0
        return real(file, data[:count])

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(NotWritten, match="No space left on device") as caught:
        files.append([change("b")], 0)
    assert caught.value.count == 1
    monkeypatch.undo()
    files.append([change("c")], 1)
    found = files.after(0, every, 10).entries
    assert [(each["name"], each["lost"]) for each in found] == [("a", 0), ("c", 1)]
