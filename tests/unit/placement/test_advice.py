"""A requirement that nobody offers: what the one line advises."""

from __future__ import annotations

from dataclasses import replace

import pytest

from overbook.placement import ModelDemand, Provider, ReplicaId, ReplicaView, place

PROVIDERS = (
    Provider("mlserver", "mlserver"),
    Provider("sklearn", "mlserver"),
    Provider("onnx", "mlserver", "onnx"),
    Provider("lightgbm", "mlserver", "lightgbm"),
    Provider("triton", "triton"),
    Provider("onnx", "triton", "onnx"),
    Provider("pytorch", "triton", "pytorch"),
    Provider("tensorrt", "triton", attached=True),
)


def mlserver(*more: str, attached: bool = False) -> ReplicaView:
    return ReplicaView(
        ReplicaId("mlserver", 0),
        frozenset({"mlserver", *more}),
        1000,
        0,
        runtime="mlserver",
        attached=attached,
    )


def reason(word: str, *views: ReplicaView, server: str | None = None) -> str:
    model = ModelDemand("m", 1, frozenset({word}), server=server)
    return place(model, views or (mlserver(),), PROVIDERS).reason


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("lightgbm", "run `overbook runtime install mlserver --with lightgbm`"),
        ("onnx", "run `overbook runtime install mlserver --with onnx`"),
        ("triton", "apply a Server with serverConfig: triton"),
        ("pytorch", "apply a Server with serverConfig: triton and extraCapabilities: [pytorch]"),
        ("sklearn", "add it to spec.capabilities of the Server that runs mlserver"),
        (
            "tensorrt",
            "attach a triton that has it: a Server with serverConfig: triton, address and "
            "extraCapabilities: [tensorrt]",
        ),
    ],
)
def test_a_word_that_could_be_offered_comes_with_what_provides_it(word: str, remedy: str) -> None:
    assert reason(word) == (
        f"spec.requirements: no server offers '{word}' ({remedy}); offered are mlserver; "
        "correct it, or add it to a Server's extraCapabilities"
    )


def test_a_misspelt_word_names_the_nearest_and_what_provides_that() -> None:
    assert "'mlservr' (did you mean 'mlserver'?)" in reason("mlservr")
    assert (
        "'lightbgm' (did you mean 'lightgbm'? run `overbook runtime install mlserver --with "
        "lightgbm`)"
    ) in reason("lightbgm")
    assert "no server offers 'zzz'; offered" in reason("zzz")


def test_nothing_is_installed_into_what_is_only_attached() -> None:
    assert "apply a Server with serverConfig: mlserver and extraCapabilities: [lightgbm]" in reason(
        "lightgbm", mlserver(attached=True)
    )


def test_of_one_server_only_what_that_can_get_is_advised() -> None:
    told = reason("lightgbm", server="mlserver")
    assert "server 'mlserver' does not offer 'lightgbm' (run `overbook runtime install" in told
    assert "does not offer 'pytorch'; offered" in reason("pytorch", server="mlserver")


def test_a_version_that_nobody_has_names_those_that_there_are_and_where() -> None:
    new, older = mlserver("scikit-learn==1.9.1"), mlserver("scikit-learn==1.6.1")
    older = replace(older, id=ReplicaId("older", 0))
    assert reason("scikit-learn==1.5.*", new, older) == (
        "spec.requirements: no server offers 'scikit-learn==1.5.*' (there is 1.6.1 on older, 1.9.1 on mlserver); "
        "change it, or apply a Server with environment: {packages: [scikit-learn==1.5.*]}"
    )
    assert "'pandas>=3' (there is no pandas); change it" in reason("pandas>=3", new)


def test_a_missing_word_beside_a_version_is_told_as_well() -> None:
    model = ModelDemand("m", 1, frozenset({"zzz", "scikit-learn==1.5"}))
    said = place(model, (mlserver("scikit-learn==1.9.1"),), PROVIDERS).reason
    assert "'scikit-learn==1.5' (there is 1.9.1 on mlserver), 'zzz'; offered are mlserver;" in said
