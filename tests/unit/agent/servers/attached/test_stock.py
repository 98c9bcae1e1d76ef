"""Whose the models in an attached server are, and what becomes of ours."""

from __future__ import annotations

from overbook.agent.servers.attached.folder import TEMPORARY, Placed
from overbook.agent.servers.attached.stock import foreign, lost, take_stock
from overbook.agent.servers.protocol import Presence

READY, LOADING, ABSENT = Presence.READY, Presence.LOADING, Presence.ABSENT


def test_what_is_loaded_whole_is_inherited_and_what_still_loads_is_stuck() -> None:
    placed = {
        "whole": Placed("digest", "digest"),
        "half": Placed("digest", "an older one"),
        "loads": Placed("digest", "digest"),
        "gone": Placed("digest", "digest"),
    }
    found = {"whole": READY, "half": READY, "loads": LOADING, "theirs": READY}
    stock = take_stock(found, placed)
    assert stock.inherited == {"whole": "digest"}
    assert stock.stuck == {"loads"}
    assert stock.leaving == ("half", "gone")


def test_models_of_others_are_those_that_we_did_not_put_there() -> None:
    found = {"theirs": READY, "ours": READY, f"{TEMPORARY}x": ABSENT, "": READY, "another": ABSENT}
    assert foreign(found, {"ours"}) == {"another": ABSENT, "theirs": READY}


def test_what_was_loaded_and_is_not_there_is_lost() -> None:
    assert lost({"a", "b", "c", "d"}, {"a": READY, "b": ABSENT, "d": LOADING}) == ["b", "c"]
