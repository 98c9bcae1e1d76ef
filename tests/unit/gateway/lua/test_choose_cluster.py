"""The script that chooses where a request goes: it finds a model's places by their names alone."""

from __future__ import annotations

from typing import Final

import pytest

from overbook.gateway.scripts import read_scripts
from overbook.gateway.snapshot.names import (
    CLUSTER_COLD_GRPC,
    CLUSTER_COLD_REST,
    CLUSTER_OIP_GRPC,
    CLUSTER_OIP_REST,
    CONFIG_PATH,
    INFER_PATH,
    MAX_SLOTS,
    MODEL_HEADER,
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


@pytest.mark.parametrize("name", ["iris", "%69ris"])
@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_what_is_told_without_the_model_needs_none(name: str, version: str) -> None:
    path = f"/v2/models/{name}{version}"
    for rest in ("", "/", "/ready", "/config", "/stats", "/trace/setting"):
        assert SCRIPT.route({":path": path + rest}, hot_in(0)).route == CLUSTER_OIP_REST
    # Its server might not decode the name: the cold listener does.
    needs = "rest/iris/0" if name == "iris" else CLUSTER_COLD_REST
    for rest in ("/infer", "/generate", "/docs", "/own/path"):
        assert SCRIPT.route({":path": path + rest}, hot_in(0)).route == needs


@pytest.mark.parametrize(
    "rest", ["/infer/../../wine/infer", "/infer/%2e%2e/x", "//infer", "/\\x", "/é"]
)
def test_a_path_of_which_somebody_could_make_another_goes_no_short_way(rest: str) -> None:
    assert SCRIPT.route({":path": f"/v2/models/iris{rest}"}, hot_in(0)).route == CLUSTER_COLD_REST


def test_the_statistics_of_all_models_are_of_no_model() -> None:
    assert SCRIPT.route({":path": "/v2/models/stats"}, frozenset()).route == CLUSTER_OIP_REST
    assert SCRIPT.route({":path": "/v2/models/stats/infer"}, frozenset()).route == CLUSTER_COLD_REST


@pytest.mark.parametrize("path", [INFER_PATH, CONFIG_PATH])
def test_a_call_whose_message_could_not_be_read_goes_to_the_gateway(path: str) -> None:
    assert SCRIPT.route({":path": path}, frozenset()).route == CLUSTER_OIP_GRPC
    named = {":path": path, MODEL_HEADER: "iris"}
    assert SCRIPT.route(named, frozenset()).route == CLUSTER_COLD_GRPC
