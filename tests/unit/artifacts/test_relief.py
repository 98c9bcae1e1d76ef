"""Which agents are asked to have models leave memory, and for how much."""

from __future__ import annotations

from dataclasses import dataclass, field

from overbook.artifacts.relief import InMemory, Relief, Relieve, Relieved, RoomWanted


@dataclass
class Agents:
    """``busy``: by agent, digests that it does not give up. Each gives up as many in order as suffice, or none."""

    busy: dict[str, set[str]]
    asked: dict[str, RoomWanted] = field(default_factory=dict)

    @property
    def ports(self) -> dict[str, Relieve]:
        return {name: self._port(name) for name in self.busy}

    def _port(self, name: str) -> Relieve:
        def relieve(wanted: RoomWanted) -> set[str]:
            self.asked[name] = wanted
            chosen: set[str] = set()
            missing = wanted.missing
            for each in wanted.files:
                if missing > 0 and each.digest not in self.busy[name]:
                    chosen.add(each.digest)
                    missing -= each.bytes
            return chosen if missing <= 0 else set()

        return relieve

    def files(self, name: str) -> list[str]:
        """That it was asked for last."""
        return [each.digest for each in self.asked[name].files]


def held(digest: str, size: int, *agents: str) -> InMemory:
    return InMemory(digest, size, {each: {f"{digest} of {each}"} for each in agents})


def test_who_needs_the_room_is_asked_first_and_the_others_for_the_rest() -> None:
    agents = Agents({"a": set(), "b": set()})
    files = [held("x", 30, "a"), held("y", 40, "b")]
    found = Relief().ask(files, 35, 7.0, agents.ports, "b")
    assert found == Relieved(40, frozenset({"y"}))
    assert list(agents.asked) == ["b", "a"]
    assert (agents.asked["b"].missing, agents.asked["b"].since) == (35, 7.0)
    assert agents.asked["a"].missing == 0
    assert agents.asked["a"].files[0].models == {"x of a"}


def test_where_it_has_nothing_idle_the_others_are_asked_for_all() -> None:
    agents = Agents({"a": {"x"}, "b": set()})
    found = Relief().ask([held("x", 40, "a"), held("y", 40, "b")], 35, 7.0, agents.ports, "a")
    assert found == Relieved(40, frozenset({"y"}))


def test_what_another_gives_is_remembered_so_that_nobody_leaves_for_the_same() -> None:
    agents = Agents({"a": {"x"}, "b": set()})
    files = [held("x", 40, "a"), held("y", 40, "b")]
    relief = Relief()
    relief.ask(files, 35, 7.0, agents.ports, "a")
    agents.busy["a"].clear()
    found = relief.ask(files, 35, 7.0, agents.ports, "a")
    assert found == Relieved(40, frozenset({"y"}))


def test_files_of_several_agents_are_free_when_all_have_given_them_up() -> None:
    agents = Agents({"a": set(), "b": set()})
    files = [held("x", 40, "a", "b"), held("y", 40, "a", "b")]
    found = Relief().ask(files, 35, 7.0, agents.ports, "a")
    assert found == Relieved(40, frozenset({"x"}))
    assert (agents.files("a"), agents.files("b")) == (["x", "y"], ["x"])


def test_files_of_several_agents_are_not_free_while_one_needs_them() -> None:
    agents = Agents({"a": set(), "b": {"x"}})
    found = Relief().ask([held("x", 40, "a", "b")], 35, 7.0, agents.ports, "a")
    assert found == Relieved(0, frozenset({"x"}))


def test_files_of_one_agent_go_before_those_of_several() -> None:
    agents = Agents({"a": set(), "b": set()})
    files = [held("x", 40, "a", "b"), held("y", 40, "b")]
    found = Relief().ask(files, 35, 7.0, agents.ports, "a")
    assert found == Relieved(40, frozenset({"y"}))
    assert agents.files("a") == []


def test_an_agent_that_is_gone_gives_nothing() -> None:
    agents = Agents({"a": set(), "b": set()})
    files = [held("x", 40, "a"), held("y", 40, "b")]
    relief = Relief()
    relief.ask(files, 35, 7.0, agents.ports, "b")
    del agents.busy["b"]
    found = relief.ask(files, 35, 7.0, agents.ports, "b")
    assert found == Relieved(40, frozenset({"x"}))


def test_the_end_is_told_to_all_and_once() -> None:
    agents = Agents({"a": set(), "b": set()})
    relief = Relief()
    relief.end(agents.ports)
    assert agents.asked == {}
    relief.ask([held("x", 40, "a")], 35, 7.0, agents.ports, "a")
    agents.asked.clear()
    relief.end(agents.ports)
    assert agents.asked == dict.fromkeys("ab", RoomWanted(0, (), 0.0))
