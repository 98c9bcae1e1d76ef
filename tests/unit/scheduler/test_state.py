"""What an apply, an agent, a report and a delete do to the state."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from overbook.artifacts.survey import Survey
from overbook.placement import ReplicaId, Unseen
from overbook.scheduler import agents_in
from overbook.scheduler.errors import Conflict, Invalid, NotFound
from overbook.scheduler.manifests_in import NOT_LOOKED, set_pin
from overbook.scheduler.messages import catalogue_replicas
from overbook.scheduler.records import Role
from tests.unit.scheduler.world import FILES, MB, World, a_report, replica

MIB = 1 << 20


@pytest.fixture
def world() -> World:
    """One Server of 10 MB and 20 %, its one replica connected."""
    world = World()
    world.server()
    world.hello()
    return world


def test_the_thirteenth_waits_and_gets_the_place_of_a_deleted_one(world: World) -> None:
    for number in range(13):
        world.apply(f"m{number}")
    assert world.registered() == 12 * MB
    assert world.reason("m12") == "ScheduleFailed"
    assert "12000000 bytes" in world.model("m12").reason
    assert "1000000 bytes" in world.model("m12").reason
    world.delete("m0")
    assert world.reason("m0") == "ModelTerminating"
    # Its bytes count until the agent has seen the last of it.
    assert world.seats("m12") == {}
    world.gone("mlserver/0", "m0")
    assert world.seats("m12") == {"mlserver/0": Role.ASSIGNED}
    assert world.reason("m12") == "ModelProgressing"
    world.report("mlserver/0", "m12")
    assert world.reason("m12") == "ModelAvailable"
    with pytest.raises(NotFound):
        world.model("m0")
    world.check()


def test_models_wait_for_the_agent_in_the_order_of_their_registration() -> None:
    world = World()
    world.server()
    for number in (3, 1, 2):
        world.apply(f"m{number}", memory="5M")
    assert {world.reason(f"m{number}") for number in (1, 2, 3)} == {"ModelProgressing"}
    world.hello()
    assert [bool(world.seats(f"m{number}")) for number in (3, 1, 2)] == [True, True, False]
    assert world.reason("m2") == "ScheduleFailed"
    world.check()


def test_an_agent_that_restarts_keeps_its_models(world: World) -> None:
    world.apply("iris")
    world.report("mlserver/0", "iris")
    world.bye("mlserver/0")
    assert world.seats("iris") == {"mlserver/0": Role.ASSIGNED}
    condition = world.model("iris").condition
    assert condition is not None
    assert "not connected: mlserver/0" in condition.message
    world.hello()
    assert world.seats("iris") == {"mlserver/0": Role.ASSIGNED}
    assert world.reason("iris") == "ModelProgressing"
    world.report("mlserver/0", "iris")
    assert world.reason("iris") == "ModelAvailable"


def test_applying_the_same_again_changes_nothing(world: World) -> None:
    assert world.apply("iris").action == "created"
    again = world.apply("iris")
    assert (again.action, again.generation) == ("unchanged", 1)
    assert not world.last.durable


def test_changed_files_are_a_new_generation_of_the_content(world: World) -> None:
    world.apply("iris")
    world.report("mlserver/0", "iris")
    again = world.apply("iris", artifact=Survey(MB, "f2"))
    assert (again.action, again.generation) == ("configured", 2)
    assert world.last.told == {replica("mlserver/0"): {"iris"}}
    assert world.reason("iris") == "ModelProgressing"
    world.report("mlserver/0", "iris")
    assert world.reason("iris") == "ModelAvailable"


def test_a_new_priority_needs_no_reload(world: World) -> None:
    world.apply("iris")
    world.report("mlserver/0", "iris")
    assert world.apply("iris", priority=5, keepAlive="10m").generation == 2
    assert world.model("iris").content_generation == 1
    assert world.reason("iris") == "ModelAvailable"


def test_another_wait_is_told_to_gateways_and_needs_no_reload(world: World) -> None:
    world.apply("iris")
    world.report("mlserver/0", "iris")
    world.settle()
    assert world.apply("iris", activationTimeout="90s").generation == 2
    assert world.last.routes == {"iris"}
    assert world.model("iris").content_generation == 1
    assert world.reason("iris") == "ModelAvailable"


def test_a_pin_stands_until_a_manifest_speaks_of_it(world: World) -> None:
    world.apply("iris")
    set_pin(world.state, "iris", True)
    world.settle()
    assert world.last.told == {replica("mlserver/0"): {"iris"}}
    assert world.apply("iris").action == "unchanged"
    assert world.model("iris").needs.pinned
    assert '"pinned":true' in world.model("iris").spec
    assert world.apply("iris", pinned=False).action == "configured"
    assert not world.model("iris").needs.pinned
    set_pin(world.state, "iris", False)
    set_pin(world.state, "iris", False)
    world.delete("iris")
    with pytest.raises(Conflict, match="being removed"):
        set_pin(world.state, "iris", True)


def test_size_declared_then_learned_then_guessed(world: World) -> None:
    world.apply("guess", memory=None, artifact=Survey(MB, "f1"))
    assert world.registered() == MB
    world.report("mlserver/0", "guess", a_report(size=3 * MB))
    assert world.registered() == 3 * MB
    assert world.last.hints == {"guess"}
    world.apply("guess", memory="2M", artifact=Survey(MB, "f1"))
    assert world.registered() == 2 * MB
    world.report("mlserver/0", "guess", a_report(size=4 * MB))
    assert world.registered() == 2 * MB
    # New content: what was learned of the old one says nothing.
    world.apply("guess", memory=None, artifact=Survey(2 * MB, "f2"))
    assert world.registered() == 2 * MB
    world.report("mlserver/0", "guess", a_report(1, size=9 * MB))
    assert world.registered() == 2 * MB
    world.check()


def test_a_size_learned_smaller_lets_a_waiting_model_in(world: World) -> None:
    world.apply("big", memory=None, artifact=Survey(8 * MB, "f"))
    world.apply("late", memory="5M")
    assert world.reason("late") == "ScheduleFailed"
    world.report("mlserver/0", "big", a_report(size=4 * MB))
    assert world.seats("late") == {"mlserver/0": Role.ASSIGNED}
    world.report("mlserver/0", "big", a_report(size=9 * MB))
    assert world.seats("late") == {"mlserver/0": Role.ASSIGNED}, "a learned size unseats nobody"
    world.check()


def test_a_model_moves_only_once_the_new_place_is_available(world: World) -> None:
    world.server("other")
    world.hello("other/0")
    world.apply("iris", server="mlserver")
    world.report("mlserver/0", "iris")
    world.apply("iris", server="other")
    assert world.seats("iris") == {"mlserver/0": Role.LEAVING, "other/0": Role.ASSIGNED}
    assert world.state.seats.routes(world.model("iris")) == [replica("mlserver/0")]
    world.report("other/0", "iris", a_report(2, available=False, failed=True, last_error="bad"))
    assert world.seats("iris")["mlserver/0"] is Role.LEAVING
    assert world.reason("iris") == "ModelFailed"
    world.report("other/0", "iris")
    assert world.seats("iris") == {"mlserver/0": Role.REVOKING, "other/0": Role.ASSIGNED}
    assert world.state.seats.routes(world.model("iris")) == [replica("other/0")]
    assert world.last.revoked == {replica("mlserver/0"): {"iris"}}
    world.gone("mlserver/0", "iris")
    assert world.seats("iris") == {"other/0": Role.ASSIGNED}
    world.check()


def test_nothing_moves_because_a_better_place_appears(world: World) -> None:
    for number in range(5):
        world.apply(f"m{number}")
    world.server("empty")
    world.hello("empty/0")
    assert all(world.seats(f"m{number}") == {"mlserver/0": Role.ASSIGNED} for number in range(5))


def test_an_update_without_a_place_leaves_the_old_generation_alone(world: World) -> None:
    world.apply("iris")
    with pytest.raises(Conflict, match=r"generation 1 keeps serving.*no server offers 'torch'"):
        world.apply("iris", requirements=["torch"])
    assert world.model("iris").generation == 1
    assert world.model("iris").needs.requirements == ()
    with pytest.raises(Conflict, match="13000000 bytes"):
        world.apply("iris", memory="13M")
    world.check()


def test_a_requirement_nobody_offers_waits_for_somebody_who_does(world: World) -> None:
    world.apply("net", requirements=["torch"])
    assert "no server offers 'torch'" in world.model("net").reason
    world.server(extraCapabilities=["torch"])
    assert world.seats("net") == {"mlserver/0": Role.ASSIGNED}
    world.server(capabilities=["only"])
    assert world.seats("net") == {"mlserver/0": Role.REVOKING}
    assert world.reason("net") == "ScheduleFailed"


def test_a_capability_that_an_agent_no_longer_has_moves_its_models(world: World) -> None:
    world.server("other")
    world.hello("other/0", "sklearn")
    world.apply("iris", requirements=["sklearn"], server="mlserver")
    world.apply("any", requirements=["sklearn"])
    world.bye("mlserver/0")
    world.hello("mlserver/0", "xgboost")
    assert world.seats("iris") == {"mlserver/0": Role.REVOKING}
    assert world.seats("any")["other/0"] is Role.ASSIGNED


def test_a_smaller_budget_unseats_the_last_registered(world: World) -> None:
    for number in range(12):
        world.apply(f"m{number}")
    world.server(overcommitPercentage=0)
    assert [number for number in range(12) if world.reason(f"m{number}") == "ScheduleFailed"] == [
        10,
        11,
    ]
    world.gone("mlserver/0", "m10")
    world.gone("mlserver/0", "m11")
    assert world.registered() == 10 * MB
    world.server(memory="20M")
    assert world.last.configured == {replica("mlserver/0")}
    assert world.registered() == 12 * MB
    world.check()


def test_agents_are_told_of_another_eviction_policy(world: World) -> None:
    world.server(evictionPolicy="lru")
    assert world.last.configured == {replica("mlserver/0")}
    assert world.state.server("mlserver").eviction_policy == "lru"
    world.bye("mlserver/0")
    world.hello()
    assert world.last.configured == {replica("mlserver/0")}, "it may have had another one"


def test_gateways_are_told_at_once_what_a_server_allows(world: World) -> None:
    def told() -> list[str]:
        ((entry,), _) = catalogue_replicas(world.state, [replica("mlserver/0")])
        return list(entry.allow)

    assert told() == []
    world.server(allow=["repository"])
    assert world.last.replicas == {replica("mlserver/0")}
    assert told() == ["repository"]
    world.state.remove_server("mlserver")
    assert replica("mlserver/0") in world.settle().replicas
    assert told() == []


def test_deleting_a_server_sends_its_models_elsewhere(world: World) -> None:
    world.server("other", memory="2M", overcommitPercentage=0)
    world.hello("other/0")
    for name in "abc":
        world.apply(name, server=None)
        world.apply(name, memory="1M")
    world.apply("gone")
    for name in "abc":
        if "other/0" in world.seats(name):
            world.delete(name)
            world.gone("other/0", name)
    left = [name for name in ("a", "b", "c", "gone") if name in world.state.seats.models]
    world.delete("gone")
    world.state.remove_server("mlserver")
    world.settle()
    assert "gone" not in world.state.seats.models
    placed = [name for name in left if name != "gone" and world.seats(name)]
    assert all(set(world.seats(name)) == {"other/0"} for name in placed)
    assert len(placed) == 2
    with pytest.raises(NotFound, match="mlserver"):
        world.state.remove_server("mlserver")
    world.bye("mlserver/0")
    assert replica("mlserver/0") not in world.state.seats.replicas
    world.check()


def test_an_agent_of_a_server_that_is_not_applied_yet() -> None:
    world = World()
    world.apply("iris")
    world.hello("mlserver/0", memory=MB)
    assert world.seats("iris") == {}
    world.server()
    assert world.seats("iris") == {"mlserver/0": Role.ASSIGNED}
    assert world.last.configured == {replica("mlserver/0")}


def test_a_deleted_model_that_is_applied_again_stays(world: World) -> None:
    world.apply("iris")
    world.delete("iris")
    world.delete("iris")
    applied = world.apply("iris")
    assert (applied.action, applied.generation) == ("created", 2)
    assert world.seats("iris") == {"mlserver/0": Role.ASSIGNED}
    world.gone("mlserver/0", "iris")
    assert world.seats("iris") == {"mlserver/0": Role.ASSIGNED}, "an old story"


def test_a_delete_is_done_when_the_agent_comes_back_without_it(world: World) -> None:
    world.apply("iris")
    world.bye("mlserver/0")
    world.delete("iris")
    assert "iris" in world.state.seats.models
    world.hello()
    assert "iris" not in world.state.seats.models
    assert world.last.gone_models == {"iris"}


def test_a_failed_load_is_told_in_the_servers_words(world: World) -> None:
    world.apply("iris")
    broken = a_report(available=True, failed=True, last_error="invalid load key")
    world.report("mlserver/0", "iris", broken)
    condition = world.model("iris").condition
    assert condition is not None
    assert (condition.status, condition.reason) == (False, "ModelFailed")
    assert condition.message == "mlserver/0: invalid load key"
    since = condition.since
    world.report("mlserver/0", "iris", a_report(failed=True))
    assert world.model("iris").condition is not None
    assert world.model("iris").condition.since == since  # type: ignore[union-attr]
    world.apply("iris", artifact=Survey(MB, "f2"))
    newer = a_report(2, failed=True, last_error="bad", serving_generation=1)
    world.report("mlserver/0", "iris", newer)
    condition = world.model("iris").condition
    assert condition is not None
    assert condition.message == "mlserver/0: generation 2 failed: bad; generation 1 serves"


def test_reports_of_strangers_are_ignored(world: World) -> None:
    world.apply("iris", server="nowhere")
    agents_in.report(
        world.state, replica("mlserver/0"), [("iris", a_report()), ("who", a_report())]
    )
    agents_in.report(world.state, replica("no/0"), [("iris", a_report())])
    agents_in.gone(world.state, replica("no/0"), ["iris"])
    agents_in.bye(world.state, replica("no/0"), world.now)
    assert world.state.seats.replicas[replica("mlserver/0")].reports == {}


def test_the_condition_of_a_server(world: World) -> None:
    def ready() -> tuple[bool, str, str]:
        condition = world.state.server("mlserver").condition
        assert condition is not None
        return condition.status, condition.reason, condition.message

    assert ready() == (
        False,
        "ServerProgressing",
        "0 of 1 replicas ready; mlserver/0 is starting",
    )
    world.server_report("mlserver/0", state="ready")
    assert ready()[:2] == (True, "ServerReady")
    world.server_report("mlserver/0", state="failed", message="no disk")
    assert ready()[1:] == ("ServerFailed", "0 of 1 replicas ready; mlserver/0 is failed: no disk")
    world.bye("mlserver/0")
    assert "mlserver/0 is not connected" in ready()[2]


def test_a_server_without_a_budget_or_with_too_many_replicas() -> None:
    world = World()
    with pytest.raises(Invalid, match=r"spec\.memory: is required"):
        world.server(memory=None)
    with pytest.raises(Invalid, match=r"spec\.replicas: 5000 is out of range"):
        world.server(replicas=5000)
    assert world.state.seats.servers == {}


def test_a_server_applied_again(world: World) -> None:
    assert world.server().action == "unchanged"
    assert world.server(memory="11M").action == "configured"


def test_one_that_comes_back_while_it_leaves_needs_no_bytes_beside_its_own(world: World) -> None:
    world.server(memory=5 * MB, overcommitPercentage=20)
    world.apply("back", memory=MB)
    world.delete("back")
    world.apply("other", memory=3 * MB)
    world.apply("waits", memory=3 * MB)
    world.apply("back", memory=4 * MB)
    assert world.reason("back") == world.reason("waits") == "ScheduleFailed"
    world.apply("other", memory=MB)
    assert world.seats("back") == {"mlserver/0": Role.ASSIGNED}
    assert world.reason("waits") == "ScheduleFailed"


def test_who_was_leaving_for_what_a_replica_lacks_stays_when_nobody_can_tell_what_it_has() -> None:
    world = World()
    world.server(replicas=2)
    world.hello("mlserver/1", "x")
    world.apply("iris", requirements=["x"])
    world.hello("mlserver/1", "y")
    assert world.seats("iris") == {"mlserver/1": Role.LEAVING}
    world.bye("mlserver/1")
    assert world.seats("iris") == {"mlserver/1": Role.ASSIGNED}


def test_who_asks_for_more_than_the_whole_budget_has_no_right_to_stay() -> None:
    world = World()
    world.server(replicas=2)
    world.hello("mlserver/0")
    world.apply("iris", memory=10 * MB)
    world.hello("mlserver/0")
    world.apply("iris", memory=11 * MB)
    assert not world.model("iris").assigned


class Seats(RuleBasedStateMachine):
    """Whatever happens in whatever order, the state agree and Σ stays within what was promised."""

    names = st.sampled_from(["a", "b", "c", "d", "e"])
    places = st.sampled_from(["s/0", "s/1", "t/0"])

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.grown: dict[
            str, int
        ] = {}  # bytes by which updates made models larger, which keep their places

    @rule(server=st.sampled_from("st"), replicas=st.integers(0, 2), memory=st.integers(1, 9))
    def server(self, server: str, replicas: int, memory: int) -> None:
        self.world.server(server, replicas=replicas, memory=memory * MIB)

    @rule(server=st.sampled_from("st"))
    def no_server(self, server: str) -> None:
        try:
            self.world.state.remove_server(server)
        except NotFound:
            return
        self.world.settle()

    @rule(place=places, capability=st.sampled_from(["x", "y"]))
    def hello(self, place: str, capability: str) -> None:
        self.world.hello(place, capability)

    @rule(place=places)
    def bye(self, place: str) -> None:
        self.world.bye(place)

    @rule(
        name=names,
        memory=st.integers(1, 9),
        replicas=st.integers(1, 2),
        needs=st.sampled_from([[], ["x"]]),
        server=st.sampled_from([None, "s"]),
        seen=st.sampled_from([FILES, NOT_LOOKED]),
    )
    def apply(
        self,
        name: str,
        memory: int,
        replicas: int,
        needs: list[str],
        server: str | None,
        seen: Survey | Unseen,
    ) -> None:
        known = self.world.state.seats.models.get(name)
        before = known.size if known is not None and known.assigned else None
        try:
            self.world.apply(
                name,
                artifact=seen,
                memory=memory * MIB,
                replicas=replicas,
                requirements=needs,
                server=server,
            )
        except Conflict:
            assert self.world.model(name).assigned
        if before is not None:
            more = max(0, self.world.model(name).size - before)
            self.grown[name] = self.grown.get(name, 0) + more

    @rule(name=names, found=st.sampled_from([FILES, Survey(1, "f2"), "is empty"]))
    def looked(self, name: str, found: Survey | str) -> None:
        if name in self.world.state.seats.models:
            self.world.looked(name, found)

    @invariant()
    def nobody_is_placed_unseen(self) -> None:
        """But where it was already, or when it was seen before."""
        for model in self.world.state.seats.models.values():
            if not model.fingerprint:
                assert model.unseen is not None
                assert model.reason or model.deleting or len(model.assigned) >= model.needs.replicas

    @rule(name=names)
    def delete(self, name: str) -> None:
        if name in self.world.state.seats.models:
            self.world.delete(name)
            self.grown.pop(name, None)

    @rule(place=places, name=names, available=st.booleans())
    def report(self, place: str, name: str, available: bool) -> None:
        if name in self.world.state.seats.models:
            generation = self.world.model(name).generation
            self.world.report(place, name, a_report(generation, available=available))

    @rule(place=places, name=names)
    def gone(self, place: str, name: str) -> None:
        self.world.gone(place, name)

    @invariant()
    def books_agree(self) -> None:
        self.world.check()

    @invariant()
    def nobody_waits_who_could_be_served(self) -> None:
        seats = self.world.state.seats
        for name in seats.pending.names():
            model = seats.models[name]
            verdict = self.world.state.verdict(name)
            assert sorted(verdict.chosen) == sorted(model.assigned)

    @invariant()
    def assigned_stays_within_the_limit(self) -> None:
        seats = self.world.state.seats
        for each in seats.replicas.values():
            here = [seats.models[name] for name in each.models]
            assigned = sum(m.size for m in here if m.seats[each.id] is Role.ASSIGNED)
            grown = sum(self.grown.get(m.name, 0) for m in here)
            assert assigned <= each.limit + grown or each.draining


class MeasuredBooks(Seats):
    """The same with models that turn out to be of any size: that takes nobody's place away."""

    @rule(place=Seats.places, name=Seats.names, measured=st.none() | st.integers(0, 12 * MIB))
    def measure(self, place: str, name: str, measured: int | None) -> None:
        model = self.world.state.seats.models.get(name)
        if model is None:
            return
        before = self._assigned()
        size = 3 * MIB if measured is None else measured
        declared = model.needs.memory
        report = a_report(model.generation, declared=declared, measured=measured, size=size)
        self.world.report(place, name, report)
        self._assert_kept(before)

    @rule()
    def look_again(self) -> None:
        before = self._assigned()
        self.world.state.later(self.world.state.seats.models)
        self.world.settle()
        # One that is moving may stay where it was after all.
        for name, places in self._assigned().items():
            assert len(before[name]) <= len(places)

    @invariant()
    def assigned_stays_within_the_limit(self) -> None:
        """By what was measured it may not."""

    def _assigned(self) -> dict[str, set[ReplicaId]]:
        return {name: set(each.assigned) for name, each in self.world.state.seats.models.items()}

    def _assert_kept(self, before: dict[str, set[ReplicaId]]) -> None:
        for name, places in self._assigned().items():
            assert before[name] <= places


TestBooks = Seats.TestCase
TestBooks.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestMeasuredBooks = MeasuredBooks.TestCase
TestMeasuredBooks.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
