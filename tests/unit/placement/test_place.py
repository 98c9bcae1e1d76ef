"""The verdicts of placement: every rule, every number, and the law of the sums."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.placement import ModelDemand, ReplicaId, ReplicaView, Rule, Unseen, Verdict, place

MB = 1_000_000


def view(name: str = "mlserver/0", **changes: object) -> ReplicaView:
    server, _, number = name.partition("/")
    values: dict[str, object] = {
        "id": ReplicaId(server, int(number)),
        "capabilities": frozenset({"sklearn", "xgboost"}),
        "budget": 10 * MB,
        "overcommit_percent": 20,
    }
    return ReplicaView(**(values | changes))  # type: ignore[arg-type]  # a table of overrides


def demand(size: int = MB, *requirements: str, **changes: object) -> ModelDemand:
    return ModelDemand("iris", size, frozenset(requirements), **changes)  # type: ignore[arg-type]


def rules(verdict: Verdict) -> dict[str, Rule | None]:
    return {str(each.replica): each.rule for each in verdict.decisions}


def fill(count: int, overcommit: int) -> list[Verdict]:
    """Places one model of 1 MB after the other on a replica of 10 MB."""
    verdicts: list[Verdict] = []
    for _ in range(count):
        held = sum(each.placed for each in verdicts)
        replica = view(registered=held * MB, models=held, overcommit_percent=overcommit)
        verdicts.append(place(demand(), [replica]))
    return verdicts


def test_twelve_models_fit_and_the_thirteenth_is_refused_with_the_numbers() -> None:
    verdicts = fill(13, overcommit=20)
    assert [each.placed for each in verdicts] == [True] * 12 + [False]
    assert verdicts[-1].reason == (
        "0 of 1 replicas placed; mlserver/0: 11.44MiB (12000000 bytes) registered in 12 models + "
        "976.6KiB (1000000 bytes) needed is more than 11.44MiB (12000000 bytes), its budget of "
        "9.54MiB (10000000 bytes) with 20 % overcommit"
    )
    assert rules(verdicts[-1]) == {"mlserver/0": Rule.NO_ROOM}


def test_without_overcommit_the_eleventh_is_refused() -> None:
    assert [each.placed for each in fill(11, overcommit=0)] == [True] * 10 + [False]


def test_a_model_that_is_to_be_served_nowhere_leaves_also_where_it_is() -> None:
    verdict = place(demand(replicas=0), [view(holds=True), view("other/0")])
    assert (verdict.chosen, verdict.placed, verdict.complete, verdict.waiting) == (
        (),
        True,
        True,
        False,
    )
    assert verdict.reason.startswith("spec.replicas is 0")
    assert rules(verdict) == {"mlserver/0": None, "other/0": None}


def test_a_model_larger_than_every_budget_names_the_largest() -> None:
    verdict = place(
        demand(11 * MB), [view(), view("big/0", budget=10_500_000), view("small/0", budget=MB)]
    )
    assert verdict.reason == (
        "the model needs 10.49MiB (11000000 bytes), more than every budget; the largest is "
        "10.01MiB (10500000 bytes) of big/0; give a Server more memory"
    )
    assert set(rules(verdict).values()) == {Rule.TOO_LARGE}
    assert "9.54MiB (10000000 bytes)" in verdict.decisions[0].reason


def test_a_requirement_that_nobody_offers_names_the_nearest() -> None:
    verdict = place(demand(MB, "sklaern", "zzz"), [view()])
    assert verdict.reason == (
        "spec.requirements: no server offers 'sklaern' (did you mean 'sklearn'?), 'zzz'; offered are "
        "sklearn, xgboost; correct it, or add it to a Server's extraCapabilities"
    )
    assert verdict.decisions[0].reason == "lacks sklaern, zzz; offers sklearn, xgboost"


def test_nothing_offered_at_all() -> None:
    verdict = place(demand(MB, "sklearn"), [view(capabilities=frozenset())])
    assert "offered are none" in verdict.reason
    assert verdict.decisions[0].reason == "lacks sklearn; offers nothing"


def test_requirements_that_only_several_offer_together() -> None:
    offers = [
        view("a/0", capabilities=frozenset({"sklearn"})),
        view("b/0", capabilities=frozenset({"fraud"})),
    ]
    verdict = place(demand(MB, "sklearn", "fraud"), offers)
    assert verdict.reason.startswith(
        "spec.requirements: no server replica offers all of fraud, sklearn together"
    )


def test_capabilities_are_exact_words() -> None:
    assert not place(demand(MB, "SKLearn"), [view()]).placed


def test_no_server_replica_at_all() -> None:
    assert place(demand(), []).reason == (
        "there is no server replica; apply a Server with replicas of 1 or more"
    )


@pytest.mark.parametrize(
    ("wanted", "hint"), [("mlservr", "did you mean 'mlserver'?"), ("zzz", "there are mlserver")]
)
def test_a_server_that_is_not_there(wanted: str, hint: str) -> None:
    verdict = place(demand(server=wanted), [view()])
    assert verdict.reason == f"spec.server: there is no server {wanted!r} with replicas; {hint}"


def test_the_server_asked_for_is_the_only_one_considered() -> None:
    verdict = place(demand(server="small"), [view("big/0"), view("small/0", registered=12 * MB)])
    assert not verdict.placed
    assert rules(verdict) == {"big/0": Rule.OTHER_SERVER, "small/0": Rule.NO_ROOM}
    assert "big/0" not in verdict.reason
    assert place(demand(server="small"), [view("big/0"), view("small/0")]).chosen == (
        ReplicaId("small", 0),
    )


def test_who_is_not_connected_gets_nothing_new_but_keeps_what_it_has() -> None:
    away = view(connected=False, capabilities=frozenset())
    verdict = place(demand(MB, "sklearn"), [away])
    assert (verdict.placed, verdict.waiting) == (False, True)
    assert "its agent is not connected" in verdict.reason
    held = view(connected=False, capabilities=frozenset(), holds=True)
    assert place(demand(MB, "sklearn"), [held]).placed


def test_waiting_is_only_what_connecting_can_end() -> None:
    away, full = view("a/0", connected=False), view("b/0", registered=12 * MB)
    assert place(demand(), [away, full]).waiting
    assert not place(demand(replicas=2), [away, full]).waiting
    assert not place(demand(), [view()]).waiting


def test_a_draining_replica_loses_even_what_it_holds() -> None:
    verdict = place(demand(), [view(draining=True, holds=True), view("mlserver/1")])
    assert verdict.chosen == (ReplicaId("mlserver", 1),)
    assert rules(verdict)["mlserver/0"] is Rule.DRAINING


def test_order_of_preference() -> None:
    holds = view("z/0", registered=9 * MB, models=9, holds=True)
    roomy = view("y/0", models=5)
    fewest = view("x/0", registered=MB, models=1)
    more = view("w/0", registered=MB, models=2)
    verdict = place(demand(replicas=4), [more, fewest, roomy, holds])
    assert [each.server for each in verdict.chosen] == ["z", "y", "x", "w"]
    assert verdict.decisions[0].reason.startswith("holds it already; 2.86MiB")
    assert place(demand(), [more, fewest]).decisions[1].reason.startswith("could take it")


def test_replicas_go_to_different_server_replicas() -> None:
    verdict = place(demand(replicas=2), [view(), view("mlserver/1")])
    assert len(set(verdict.chosen)) == 2
    assert verdict.complete
    assert verdict.reason == ""


def test_min_replicas_allows_fewer() -> None:
    verdict = place(demand(replicas=3, min_replicas=1), [view()])
    assert verdict.placed
    assert not verdict.complete
    assert verdict.reason == ("1 of 3 replicas placed; there is only 1 server replica it may go to")
    assert place(demand(replicas=2, min_replicas=0), [view(draining=True)]).needed == 1


def test_fewer_than_needed_takes_nothing_new_but_keeps_what_serves() -> None:
    assert place(demand(replicas=2), [view()]).chosen == ()
    kept = place(demand(replicas=2), [view(holds=True), view("mlserver/1", registered=12 * MB)])
    assert kept.chosen == (ReplicaId("mlserver", 0),)
    assert not kept.placed


def test_many_reasons_are_cut_short_in_the_line_but_not_in_the_verdict() -> None:
    verdict = place(demand(), [view(f"s/{n}", registered=12 * MB) for n in range(5)])
    assert verdict.reason.endswith("and 2 more")
    assert len(verdict.decisions) == 5


def test_a_decision_has_the_numbers() -> None:
    decision = place(demand(), [view(registered=3 * MB, models=3)]).decisions[0]
    assert (decision.registered, decision.limit, decision.budget, decision.models) == (
        3 * MB,
        12 * MB,
        10 * MB,
        3,
    )
    assert decision.reason == "8.58MiB of 11.44MiB free for 976.6KiB"


sizes = st.integers(0, 60)


@given(
    budgets=st.lists(st.tuples(sizes, st.integers(0, 100)), min_size=1, max_size=4),
    models=st.lists(st.tuples(sizes, st.integers(1, 3), st.integers(0, 3)), max_size=25),
)
def test_the_sum_of_registered_never_exceeds_the_limit(
    budgets: list[tuple[int, int]], models: list[tuple[int, int, int]]
) -> None:
    registered = [0] * len(budgets)
    for number, (size, replicas, least) in enumerate(models):
        model = ModelDemand(
            f"m{number}", size, replicas=replicas, min_replicas=min(least, replicas)
        )
        verdict = place(
            model,
            [
                ReplicaView(ReplicaId("s", index), frozenset(), budget, percent, registered[index])
                for index, (budget, percent) in enumerate(budgets)
            ],
        )
        assert len(set(verdict.chosen)) == len(verdict.chosen) <= replicas
        assert verdict.placed == (len(verdict.chosen) >= model.needed)
        assert bool(verdict.chosen) == verdict.placed
        for chosen in verdict.chosen:
            registered[chosen.replica] += size
            assert size <= budgets[chosen.replica][0]
        for total, (budget, percent) in zip(registered, budgets, strict=True):
            assert total * 100 <= budget * (100 + percent)


def test_two_replicas_wanted_and_one_away_is_waiting_not_refusal() -> None:
    views = [view(), view("mlserver/1", connected=False)]
    verdict = place(demand(replicas=2), views)
    assert not verdict.placed
    assert verdict.waiting


def test_what_is_held_stays_while_an_agent_is_awaited() -> None:
    views = [
        view(holds=True),
        view("mlserver/1"),
        view("mlserver/2", connected=False, awaited=True),
    ]
    verdict = place(demand(replicas=2), views)
    assert verdict.chosen == (ReplicaId("mlserver", 0),)
    assert verdict.waiting


def test_what_others_turned_out_to_take_sends_nobody_away() -> None:
    full = view(registered=14 * MB, models=3, holds=True, held=2 * MB)
    kept = place(demand(2 * MB), [full])
    assert kept.placed
    assert kept.decisions[0].reason == "holds it already; 1.91MiB above 11.44MiB"
    asks_for_more = place(demand(2 * MB + 1), [full])
    assert rules(asks_for_more) == {"mlserver/0": Rule.NO_ROOM}
    newcomer = place(demand(2 * MB), [view(registered=14 * MB)])
    assert rules(newcomer) == {"mlserver/0": Rule.NO_ROOM}


def test_one_that_takes_more_than_the_whole_budget_is_refused_whatever_it_counts_as() -> None:
    large = demand(9 * MB, takes=11 * MB)
    refused = place(large, [view()])
    assert rules(refused) == {"mlserver/0": Rule.TOO_LARGE}
    assert refused.reason.startswith(
        "the model needs 10.49MiB (11000000 bytes), more than every budget"
    )
    assert place(large, [view(holds=True, held=9 * MB)]).placed
    assert place(demand(11 * MB, takes=9 * MB), [view()]).placed


def test_a_model_nobody_looked_at_stays_where_it_is_and_goes_nowhere_else() -> None:
    why = Unseen("nobody looked")
    replicas = [
        view("mlserver/0", holds=True),
        view("mlserver/1"),
        view("mlserver/2", holds=True, draining=True),
    ]
    verdict = place(demand(unseen=why, replicas=2, min_replicas=1), replicas)
    assert verdict.chosen == (ReplicaId("mlserver", 0),)
    assert (verdict.placed, verdict.waiting, verdict.reason) == (True, False, "nobody looked")
    assert [each.chosen for each in verdict.decisions] == [True, False, False]
    assert place(demand(unseen=why), replicas).reason == ""
    nowhere = place(demand(unseen=why), [view()])
    assert (nowhere.placed, nowhere.waiting) == (False, True)
    refused = place(demand(unseen=Unseen("is empty", waiting=False)), [view()])
    assert (refused.waiting, refused.reason) == (False, "is empty")


def test_a_version_finds_the_server_that_has_it() -> None:
    new = view(capabilities=frozenset({"sklearn", "scikit-learn==1.9.1"}))
    old = view("older/0", capabilities=frozenset({"sklearn", "scikit-learn==1.6.1"}))
    verdict = place(demand(MB, "sklearn", "scikit-learn==1.6.*"), [new, old])
    assert [str(each) for each in verdict.chosen] == ["older/0"]
    assert verdict.decisions[1].reason == "lacks scikit-learn==1.6.*; has scikit-learn 1.9.1"
    lost = place(demand(MB, "pandas>=3", "scikit-learn<1"), [new])
    assert lost.decisions[0].reason == (
        "lacks pandas>=3, scikit-learn<1; has no pandas; has scikit-learn 1.9.1"
    )


def test_a_model_goes_only_where_all_that_it_calls_is() -> None:
    replicas = [view("mlserver/0", lacking=("add",)), view("mlserver/1")]
    assert place(demand(), replicas).chosen == (ReplicaId("mlserver", 1),)
    verdict = place(demand(), replicas[:1])
    assert rules(verdict) == {"mlserver/0": Rule.CALLEE_ELSEWHERE}
    assert verdict.reason == (
        "0 of 1 replicas placed; mlserver/0: 'add', which the model calls, is not assigned to it"
    )
    assert place(demand(unregistered=("add", "rank")), replicas[:1]).reason == (
        "the model calls 'add', 'rank', which are not registered; apply them first"
    )
