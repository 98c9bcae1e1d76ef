"""Where several could take a model: who is chosen, and the words that say why."""

from __future__ import annotations

from dataclasses import replace

from overbook.placement import ModelDemand, ReplicaId, ReplicaView, Rule, Verdict, place

MB = 1_000_000


def mlserver(**changes: object) -> ReplicaView:
    return _view("mlserver", {"mlserver", "sklearn", "python", "onnx"}, set(), **changes)


def triton(**changes: object) -> ReplicaView:
    offers = {"triton", "python", "onnx", "tensorflow"}
    return _view("triton", offers, {"python", "onnx", "tensorflow"}, **changes)


def _view(name: str, capabilities: set[str], separate: set[str], **changes: object) -> ReplicaView:
    values: dict[str, object] = {
        "id": ReplicaId(name, 0),
        "capabilities": frozenset(capabilities),
        "budget": 10 * MB,
        "overcommit_percent": 0,
        "runtime": name,
        "separate_process": frozenset(separate),
    }
    return ReplicaView(**(values | changes))  # type: ignore[arg-type]  # a table of overrides


def demand(*requirements: str, **changes: object) -> ModelDemand:
    return ModelDemand("m", MB, frozenset(requirements), **changes)  # type: ignore[arg-type]


def chosen(verdict: Verdict) -> list[str]:
    return [each.server for each in verdict.chosen]


def reasons(verdict: Verdict) -> dict[str, str]:
    return {each.replica.server: each.reason for each in verdict.decisions}


def test_who_needs_no_process_for_it_comes_first_even_with_less_room() -> None:
    verdict = place(demand("onnx"), [triton(), mlserver(registered=8 * MB, models=8)])
    assert chosen(verdict) == ["mlserver"]
    assert reasons(verdict) == {
        "mlserver": "serves onnx in its one process; triton would pay a process of its own; "
        "1.91MiB of 9.54MiB free for 976.6KiB",
        "triton": "could take it (9.54MiB of 9.54MiB free), but onnx would "
        "take a process of its own here, mlserver/0 serves it in its one process",
    }


def test_when_the_better_one_is_full_the_other_takes_it_and_says_so() -> None:
    verdict = place(demand("onnx"), [triton(), mlserver(registered=10 * MB, models=8)])
    assert chosen(verdict) == ["triton"]
    assert reasons(verdict)["triton"].startswith(
        "pays a process of its own for onnx; mlserver/0 would not, but has no room; "
    )


def test_who_holds_it_keeps_it_whatever_it_costs() -> None:
    verdict = place(demand("onnx"), [triton(holds=True), mlserver()])
    assert chosen(verdict) == ["triton"]
    assert reasons(verdict)["mlserver"].endswith("but triton/0 holds it already")


def test_a_requirement_that_costs_nothing_does_not_count() -> None:
    other = _view("other", {"onnx", "gpu"}, {"gpu"})
    verdict = place(demand("onnx"), [triton(), other])
    assert chosen(verdict) == ["other"]


def test_room_decides_between_equals() -> None:
    twin = _view("twin", {"onnx"}, set())
    verdict = place(demand("onnx"), [mlserver(registered=MB), twin])
    assert chosen(verdict) == ["twin"]
    assert reasons(verdict)["mlserver"].endswith("but others come first")
    assert reasons(verdict)["twin"].startswith("9.54MiB of")


def test_the_one_that_the_files_are_made_for_comes_before_the_cheaper_one() -> None:
    verdict = place(demand("onnx", made_for="triton"), [triton(), mlserver()])
    assert chosen(verdict) == ["triton"]
    assert reasons(verdict)["triton"].startswith("the model's files are made for triton; ")
    assert reasons(verdict)["mlserver"].endswith(
        "but the model's files are made for triton, as triton/0 is"
    )
    full = place(
        demand("onnx", made_for="triton"), [triton(registered=10 * MB), mlserver(models=1)]
    )
    assert chosen(full) == ["mlserver"]


def test_code_goes_only_where_it_is_written_for() -> None:
    verdict = place(demand("python", made_for="triton"), [triton(registered=10 * MB), mlserver()])
    assert not verdict.placed
    rules = {each.replica.server: each.rule for each in verdict.decisions}
    assert rules == {"triton": Rule.NO_ROOM, "mlserver": Rule.OTHER_FORMAT}
    assert reasons(verdict)["mlserver"] == (
        "the model's code is written for triton; this is mlserver"
    )
    assert chosen(place(demand("python", made_for="mlserver"), [triton(), mlserver()])) == [
        "mlserver"
    ]


def test_without_requirements_the_layout_of_the_files_decides() -> None:
    verdict = place(demand(made_for="triton"), [mlserver(), triton()])
    assert chosen(verdict) == ["triton"]
    assert reasons(verdict)["mlserver"] == (
        "the model's files are laid out for triton, and it has no requirements; this is mlserver"
    )
    assert chosen(place(demand("onnx", made_for="triton"), [mlserver()])) == ["mlserver"]
    assert chosen(place(demand(), [mlserver()])) == ["mlserver"]


def test_code_that_does_not_tell_goes_where_it_costs_no_process() -> None:
    assert chosen(place(demand("python"), [triton(), mlserver()])) == ["mlserver"]


def test_the_name_of_somebody_elses_model_is_taken() -> None:
    there = triton(foreign=frozenset({"m"}), attached=True)
    verdict = place(demand("onnx"), [there])
    assert not verdict.placed
    assert verdict.decisions[0].rule is Rule.NAME_TAKEN
    assert chosen(place(demand("onnx"), [there, mlserver()])) == ["mlserver"]
    assert place(demand("onnx"), [triton(foreign=frozenset({"other"}))]).placed


def test_too_few_that_could_take_it() -> None:
    verdict = place(demand("onnx", replicas=2), [mlserver()])
    assert reasons(verdict)["mlserver"].endswith("but too few can")


def test_packages_of_its_own_are_for_those_who_ask_for_them() -> None:
    older = {"id": ReplicaId("older", 0), "own_packages": True}
    verdict = place(demand("sklearn"), [mlserver(**older), mlserver(registered=8 * MB)])
    assert chosen(verdict) == ["mlserver"]
    assert reasons(verdict)["older"].endswith(
        "it has packages of its own, which the model does not ask for, and mlserver/0 has not"
    )
    asked = demand("sklearn", "scikit-learn==1.6.*")
    offers = frozenset({"mlserver", "sklearn", "scikit-learn==1.6.1"})
    offering = replace(mlserver(**older), capabilities=offers)
    assert chosen(place(asked, [offering, mlserver()])) == ["older"]
    assert chosen(place(demand("sklearn"), [mlserver(**older)])) == ["older"], "better than nowhere"
