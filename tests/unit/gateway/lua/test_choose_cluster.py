"""The script that chooses where a request goes: it finds a model's places by their names alone."""

from __future__ import annotations

from typing import Final

from overbook.gateway.scripts import read_scripts
from overbook.gateway.snapshot.names import (
    CLUSTER_COLD_REST,
    MAX_SLOTS,
    Protocol,
    marks,
    place_cluster,
)
from tests.unit.gateway.lua.envoy import Script

SCRIPT: Final = Script(read_scripts().choose_cluster)
PATH: Final = {":path": "/v2/models/iris/infer"}


def hot_in(*slots: int) -> frozenset[str]:
    """The clusters of iris while it is hot in these slots, over REST."""
    places = [place_cluster(Protocol.REST, "iris", slot) for slot in slots]
    return frozenset((*places, *marks("iris", {slot: [Protocol.REST] for slot in slots})))


def test_the_last_slot_is_looked_at_and_none_behind_it() -> None:
    last = MAX_SLOTS - 1
    assert SCRIPT.route(PATH, hot_in(last)).route == f"rest/iris/{last}"
    ran = SCRIPT.route(PATH, hot_in(MAX_SLOTS))
    assert ran.route == CLUSTER_COLD_REST
    assert [name for name in ran.asked if name.startswith("hot/")] == [
        f"hot/rest/iris/{slot}" for slot in range(MAX_SLOTS)
    ]


def test_one_look_is_enough_for_a_model_in_slot_0_alone() -> None:
    ran = SCRIPT.route(PATH, hot_in(0))
    assert (ran.route, ran.asked) == ("rest/iris/0", ("/v2/models/iris/infer",))
