from __future__ import annotations

from overbook.gateway.places import Places
from overbook.gateway.snapshot.names import MAX_SLOTS, Protocol


def test_slots_are_the_lowest_free_ones() -> None:
    places = Places()
    first = places.claim("iris", "s/0")
    second = places.claim("iris", "s/1")
    assert first is not None
    assert second is not None
    assert (first.slot, second.slot) == (0, 1)
    assert places.claim("iris", "s/0") is first
    places.drop(first)
    again = places.claim("iris", "s/2")
    assert again is not None
    assert again.slot == 0
    assert places.find("iris", "s/0") is None
    assert places.by_key(("iris", 0)) is again


def test_more_replicas_than_slots() -> None:
    places = Places()
    made = [places.claim("iris", f"s/{number}") for number in range(MAX_SLOTS + 1)]
    assert made[-1] is None
    assert all(made[:-1])


def test_marks_follow_hot_places() -> None:
    places = Places()
    zero, one = places.claim("iris", "s/0"), places.claim("iris", "s/1")
    assert zero is not None
    assert one is not None
    assert places.marks("iris") == []
    zero.hot = True
    # Hot, but nobody has asked for it yet: there are no clusters to lead to.
    assert places.marks("iris") == []
    zero.clusters[Protocol.REST] = 1
    assert places.marks("iris") == ["/v2/models/iris/infer"]
    one.hot = True
    one.clusters.update({Protocol.REST: 2, Protocol.GRPC: 2})
    assert places.protocols("iris") == {Protocol.REST, Protocol.GRPC}
    assert set(places.marks("iris")) == {
        "hot/rest/iris/0",
        "hot/rest/iris/1",
        "hot/grpc/iris/1",
        "wide/iris",
    }
    zero.hot = False
    assert set(places.marks("iris")) == {"hot/rest/iris/1", "hot/grpc/iris/1", "wide/iris"}


def test_cold_places_come_longest_unused_first() -> None:
    places = Places()
    for number, granted in enumerate((5.0, 1.0, 3.0)):
        place = places.claim(f"m{number}", "s/0")
        assert place is not None
        place.granted_at = granted
    hot = places.claim("hot", "s/0")
    assert hot is not None
    hot.hot = True
    assert [place.model for place in places.cold()] == ["m1", "m2", "m0"]
    assert {place.model for place in places.of_replica("s/0")} == {"m0", "m1", "m2", "hot"}
