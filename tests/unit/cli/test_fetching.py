"""How far fetches are, in words: with and without a total, of one model and of many."""

from __future__ import annotations

import pytest

from overbook.cli.fetching import Fetch, Seen, disk_told, fetch_awaited, fetch_of, files_of
from overbook.client.http import JsonObject
from tests.unit.cli.conftest import Overbook
from tests.unit.client.fake_overbook import FakeOverbook, fetched, model, server

GIB = 2**30
MIB = 2**20


@pytest.mark.parametrize(
    ("fetch", "told"),
    [
        (Fetch(GIB // 2, GIB, 118.0 * MIB, 6.5), "512MiB of 1GiB (50%), 118MiB/s, 6s left"),
        (Fetch(GIB // 2, GIB, 0.0, None), "512MiB of 1GiB (50%)"),
        (Fetch(GIB // 2, None, 1024.0, None), "512MiB so far, 1KiB/s"),
        (Fetch(GIB - 1, GIB, 1024.0, 0.0), "1GiB of 1GiB (99%), 1KiB/s, 0s left"),
        (Fetch(GIB + 5, GIB, 0.0, None), "1GiB of 1GiB (100%)"),
        (Fetch(0, 0, 0.0, None), "0B of 0B (100%)"),
    ],
)
def test_told(fetch: Fetch, told: str) -> None:
    assert fetch.told == told


def test_of_several_replicas_the_one_that_is_least_far_is_waited_for() -> None:
    thing = two_replicas(
        fetched("iris", done=300, total=1000), fetched("iris", done=20, total=1000)
    )
    found = fetch_awaited(thing)
    assert found is not None
    assert found.done == 20
    assert fetch_awaited(model("iris")) is None
    assert fetch_of({"transfer": "soon"}) is None


def two_replicas(one: JsonObject, other: JsonObject) -> JsonObject:
    first, second = one["status"], other["status"]
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert isinstance(first["replicas"], list)
    assert isinstance(second["replicas"], list)
    first["replicas"] += second["replicas"]
    return one


def test_where_files_are() -> None:
    here: JsonObject = {"filesOnDisk": True, "transfer": None}
    not_here: JsonObject = {**here, "filesOnDisk": False}
    assert files_of(model("iris"), here) == "on disk"
    assert (
        files_of(model("iris"), not_here) == "not on disk; fetched again when a request needs them"
    )
    assert files_of(fetched("iris"), not_here) == "not on disk yet"


def test_what_a_disk_holds() -> None:
    whole: JsonObject = {"used": GIB, "coming": MIB, "firm": 2 * MIB, "budget": 4 * GIB}
    assert disk_told({"disk": whole}) == "1GiB of 4GiB used, 2MiB of it cannot leave, 1MiB coming"
    calm: JsonObject = {**whole, "coming": 0, "firm": 0}
    assert disk_told({"disk": calm}) == "1GiB of 4GiB used, all of it can leave"
    assert disk_told({"disk": None}) == ""


def test_the_sum_counts_what_has_arrived_and_shared_files_once() -> None:
    seen = Seen()
    a, b = fetched("a", done=400, total=1000), fetched("b", done=100, total=1000)
    twin = {**fetched("twin", done=400, total=1000), "spec": a["spec"]}
    seen.see({"a": a, "twin": twin, "b": b})
    assert (seen.all.done, seen.all.total, seen.all.rate) == (500, 2000, 2 * 118.0 * MIB)
    assert seen.line.startswith("fetching files of 3 models: 500B of 1.95KiB (25%), 236MiB/s, ")
    assert seen.line.endswith("; least far: b, 10%")
    seen.see({"b": fetched("b", done=200, total=1000)})
    assert (seen.all.done, seen.all.total, list(seen.under_way)) == (1200, 2000, ["b"])


def test_of_an_unknown_total_the_sum_is_unknown() -> None:
    seen = Seen()
    seen.see({"a": fetched("a", done=400, total=None), "b": fetched("b", done=100, total=1000)})
    assert (seen.all.done, seen.all.total, seen.all.left) == (500, None, None)


def test_describe_says_where_files_are_and_how_they_come(
    overbook: Overbook, fake: FakeOverbook
) -> None:
    fake.add(fetched("remote"), model("iris"), server("mlserver"))
    said = overbook("describe", "model", "remote").stdout.splitlines()
    assert "mlserver/0: files: fetching 512MiB of 1.25GiB (40%), 118MiB/s, 6s left" in said
    assert "storageUri:    s3://models/remote" in said
    assert "secretName:    none: as the machine itself, or as anybody (the default)" in said
    assert "refresh:       never: only an apply asks for changes (the default)" in said
    fake.add(fetched("endless", total=None))
    endless = overbook("describe", "model", "endless").stdout
    assert "mlserver/0: files: fetching 512MiB so far, 118MiB/s" in endless
    local = overbook("describe", "model", "iris").stdout
    assert "mlserver/0: files: on disk\n" in local
    assert "secretName" not in local
    held = overbook("describe", "server", "mlserver").stdout.splitlines()
    assert (
        "mlserver/0: files: 1.25GiB of 10GiB used, 300MiB of it cannot leave, 512MiB coming" in held
    )
