"""Servers of several kinds in the state: who gets what, what is learned later, and models of somebody else's."""

from __future__ import annotations

from overbook.artifacts.survey import Survey
from overbook.placement import Provider, ReplicaId, Rule
from overbook.scheduler import agents_in
from overbook.scheduler.records import ForeignModel, News, Role
from tests.unit.scheduler.world import MB, World

ADDRESS = {"rest": "127.0.0.1:1", "grpc": "127.0.0.1:2"}


def two_kinds(mlserver: tuple[str, ...] = ("sklearn", "onnx")) -> World:
    world = World()
    world.server("mlserver")
    world.server("triton", serverConfig="triton")
    world.hello("triton/0", "onnx", "tensorflow", separate=("onnx", "tensorflow"))
    world.hello("mlserver/0", *mlserver)
    return world


def test_each_goes_where_its_requirements_are_met_and_no_process_is_needed() -> None:
    world = two_kinds()
    world.apply("forest", requirements=["sklearn"])
    world.apply("adder", requirements=["tensorflow"], memory="100Ki")
    world.apply("net", requirements=["onnx"])
    assert world.seats("forest").keys() == {"mlserver/0"}
    assert world.seats("adder").keys() == {"triton/0"}
    assert world.seats("net").keys() == {"mlserver/0"}
    world.check()


def test_the_other_takes_over_when_the_better_one_is_full() -> None:
    world = two_kinds()
    for number in range(14):
        world.apply(f"net-{number}", requirements=["onnx"])
    where = [next(iter(world.seats(f"net-{number}"))) for number in range(14)]
    assert where == ["mlserver/0"] * 12 + ["triton/0"] * 2
    assert "would not, but has no room" in world.state.verdict("net-13").decisions[0].reason or (
        "holds it already" in world.state.verdict("net-13").decisions[0].reason
    )


def test_files_made_for_one_kind_go_there_and_a_change_of_files_is_noticed() -> None:
    world = two_kinds()
    world.apply("net", artifact=Survey(MB, "f1", "triton"), requirements=["onnx"])
    assert world.seats("net").keys() == {"triton/0"}
    assert world.model("net").made_for == "triton"
    world.apply("net", artifact=Survey(MB, "f2"), requirements=["onnx"])
    assert world.model("net").made_for == ""


def test_a_model_waits_until_an_agent_learns_what_it_requires() -> None:
    world = World(Provider("lightgbm", "mlserver", "lightgbm"))
    world.server("mlserver")
    world.hello("mlserver/0", "sklearn")
    world.apply("boosted", requirements=["lightgbm"])
    assert world.seats("boosted") == {}
    assert "`overbook runtime install mlserver --with lightgbm`" in world.model("boosted").reason
    world.hello("mlserver/0", "sklearn", "lightgbm")
    assert world.seats("boosted").keys() == {"mlserver/0"}


def attached() -> World:
    world = World()
    repository = {"path": "/srv/models"}
    world.server("theirs", serverConfig="triton", address=ADDRESS, modelRepository=repository)
    world.hello("theirs/0", "onnx")
    return world


def test_a_foreign_model_keeps_its_name_until_it_is_gone() -> None:
    world = attached()
    world.server_report("theirs/0", state="ready", foreign=(ForeignModel("net", "ready"),))
    world.apply("net", requirements=["onnx"])
    assert world.seats("net") == {}
    assert world.state.verdict("net").decisions[0].rule is Rule.NAME_TAKEN
    world.server_report("theirs/0", state="ready")
    assert world.seats("net").keys() == {"theirs/0"}


def test_foreign_models_of_known_size_take_their_share_of_the_budget() -> None:
    world = attached()
    foreign = (ForeignModel("a", "ready", 9 * MB), ForeignModel("b", "ready"))
    world.server_report("theirs/0", state="ready", foreign=foreign)
    world.apply("net", requirements=["onnx"], memory="2M")
    assert world.state.verdict("net").decisions[0].rule is Rule.TOO_LARGE
    world.apply("small", requirements=["onnx"], memory="1M")
    assert world.seats("small").keys() == {"theirs/0"}


def test_a_model_that_asks_for_a_version_waits_for_the_server_that_gets_it() -> None:
    world = World()
    world.server("mlserver")
    world.hello("mlserver/0", "sklearn", "scikit-learn==1.9.1")
    world.server("older", environment={"packages": ["scikit-learn==1.6.1"]})
    world.apply("forest", requirements=["sklearn", "scikit-learn==1.6.*"])
    assert world.seats("forest") == {}
    world.hello("older/0", "sklearn", "scikit-learn==1.6.1")
    assert world.seats("forest").keys() == {"older/0"}
    # Another environment does not have it any more.
    world.hello("older/0", "sklearn", "scikit-learn==1.7.0")
    assert world.seats("forest") == {"older/0": Role.REVOKING}
    assert "1.7.0 on older, 1.9.1 on mlserver" in world.model("forest").reason
    world.check()


def test_a_servers_own_words_leave_its_packages_as_they_are() -> None:
    world = World()
    world.server("mlserver", capabilities=["fraud"])
    world.hello("mlserver/0", "sklearn", "scikit-learn==1.9.1")
    world.apply("forest", requirements=["fraud", "scikit-learn>=1.9"])
    assert world.seats("forest").keys() == {"mlserver/0"}


def test_what_is_done_for_an_environment_stands_in_the_condition() -> None:
    world = World()
    world.server("older", environment={"packages": ["scikit-learn==9"]})

    def told(text: str, *, failed: bool = False) -> tuple[str, str]:
        given = News(text, failed) if text else None
        agents_in.news(world.state, ReplicaId("older", 0), given, world.now)
        changes = world.settle()
        condition = world.state.server("older").condition
        assert condition is not None
        return condition.reason, " ".join(each.reason for each in changes.notes)

    def message() -> str:
        condition = world.state.server("older").condition
        return "" if condition is None else condition.message

    assert told("downloading") == ("ServerProgressing", "")
    assert "older/0 is not connected: downloading" in message()
    assert told("no such version", failed=True) == ("ServerFailed", "EnvironmentFailed")
    assert told("no such version", failed=True) == ("ServerFailed", "")
    assert told("downloading") == ("ServerProgressing", "")
    assert told("no such version", failed=True) == ("ServerFailed", ""), "tried again, in vain"
    assert told("no network", failed=True) == ("ServerFailed", "EnvironmentFailed")
    assert told("no such version", failed=True) == ("ServerFailed", "EnvironmentFailed")
    world.hello("older/0")
    world.server_report("older/0", state="ready")
    assert "older/0: no such version; it keeps running with what it has" in message()
    assert told("") == ("ServerReady", "")
    assert message() == "1 of 1 replicas ready"
    assert told("no such version", failed=True)[1] == "EnvironmentFailed", "it was mended meanwhile"
    agents_in.news(world.state, ReplicaId("gone", 0), News("x"), world.now)
