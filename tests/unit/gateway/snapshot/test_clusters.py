from __future__ import annotations

import functools
import re
from importlib import resources

import pytest

from overbook.gateway.snapshot import clusters
from overbook.gateway.snapshot.clusters import Endpoint, Fallback
from overbook.manifests.names import MAX_NAME


def _http1(address: str) -> Endpoint:
    return Endpoint(address, http2=False, keeps_connections=False)


def test_the_server_comes_first_and_the_cold_listener_second() -> None:
    cluster = clusters.place(
        name="rest/iris/0",
        model="iris",
        endpoint=_http1("127.0.0.1:39001"),
        fallback=Fallback(),
    )
    first, second = cluster.load_assignment.endpoints
    where = first.lb_endpoints[0].endpoint.address.socket_address
    assert (first.priority, where.address, where.port_value) == (0, "127.0.0.1", 39001)
    assert second.priority == 1
    where_next = second.lb_endpoints[0].endpoint.address.envoy_internal_address
    assert where_next.server_listener_name == "cold"
    assert cluster.name == cluster.load_assignment.cluster_name == "rest/iris/0"


def test_a_server_at_a_unix_socket_is_reached_by_its_path() -> None:
    cluster = clusters.place(
        name="rest/iris/0",
        model="iris",
        endpoint=_http1("unix:/run/grpc:1"),
        fallback=Fallback(),
    )
    where = cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address
    assert where.pipe.path == "/run/grpc:1"
    assert not where.HasField("socket_address")


def test_one_cluster_does_not_change_another() -> None:
    """They are copies of one template."""
    made = [
        clusters.place(name=name, model="iris", endpoint=endpoint, fallback=Fallback())
        for name, endpoint in (
            ("rest/a/0", _http1("h:1")),
            ("rest/b/0", _http1("[::1]:2")),
            ("grpc/a/0", Endpoint("h:3", http2=True, keeps_connections=False)),
            ("grpc/b/0", Endpoint("h:4", http2=False, keeps_connections=True)),
        )
    ]
    ports = [
        cluster.load_assignment.endpoints[0]
        .lb_endpoints[0]
        .endpoint.address.socket_address.port_value
        for cluster in made
    ]
    assert [cluster.name for cluster in made] == ["rest/a/0", "rest/b/0", "grpc/a/0", "grpc/b/0"]
    assert ports == [1, 2, 3, 4]
    options = [
        cluster.typed_extension_protocol_options[
            next(iter(cluster.typed_extension_protocol_options))
        ]
        for cluster in made
    ]
    assert options[0] == options[1]
    assert len({option.SerializeToString(deterministic=True) for option in options}) == 3


def test_statistics_of_names_with_dots_are_not_cut() -> None:
    place, own, other = (
        make(model=model, endpoint=_http1("h:1"), fallback=Fallback())
        for make, model in (
            (functools.partial(clusters.place, name="rest/a.b_C/0"), "a.b_C"),
            (clusters.own, "a.b_C"),
            (functools.partial(clusters.place, name="rest/a/0"), "a"),
        )
    )
    assert (place.name, place.alt_stat_name) == ("rest/a.b_C/0", "rest/a~b_C/0")
    assert (own.name, own.alt_stat_name) == ("own/a.b_C", "rest/a~b_C/0")
    assert other.alt_stat_name == ""


@pytest.mark.parametrize("address", ["", "nowhere", ":1", "host:", "host:http"])
def test_an_address_without_a_port_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        clusters.place(name="x", model="x", endpoint=_http1(address), fallback=Fallback())


def test_a_mark_has_no_endpoints() -> None:
    assert not clusters.mark("hot/iris/0").load_assignment.endpoints


def test_only_servers_that_do_not_mark_their_answers_are_listened_to() -> None:
    fallback = Fallback(unanswered="-- a script")
    made = [
        clusters.place(
            name="rest/a/0",
            model="a",
            endpoint=Endpoint("h:1", False, False, marks_unanswered=marks),
            fallback=fallback,
        )
        for marks in (False, True)
    ]
    told, not_told = (
        b"-- a script" in cluster.SerializeToString(deterministic=True) for cluster in made
    )
    assert told
    assert not not_told


def test_the_script_of_a_place_knows_its_model() -> None:
    script = (resources.files("overbook.gateway") / "lua" / "unanswered.lua").read_text()
    [placeholder] = re.findall(r"\.{20,}", script)
    assert len(placeholder) == 254 > MAX_NAME
    for model in ("iris", "m" * MAX_NAME):
        cluster = clusters.place(
            name=f"rest/{model}/0",
            model=model,
            endpoint=_http1("127.0.0.1:39001"),
            fallback=Fallback(f'local ASKED = "{placeholder}"'),
        )
        assert f'local ASKED = "{model.ljust(254)}"' in str(cluster.SerializeToString())
