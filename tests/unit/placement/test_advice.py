"""A requirement that nobody offers: what the one line advises."""

from __future__ import annotations

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
        f"spec.requirements: nobody offers '{word}' ({remedy}); offered are mlserver; "
        "correct it, or add it to a Server's extraCapabilities"
    )


def test_a_misspelt_word_names_the_nearest_and_what_provides_that() -> None:
    assert "'mlservr' (did you mean 'mlserver'?)" in reason("mlservr")
    assert (
        "'lightbgm' (did you mean 'lightgbm'? run `overbook runtime install mlserver --with "
        "lightgbm`)"
    ) in reason("lightbgm")
    assert "nobody offers 'zzz'; offered" in reason("zzz")


def test_nothing_is_installed_into_what_is_only_attached() -> None:
    assert "apply a Server with serverConfig: mlserver and extraCapabilities: [lightgbm]" in reason(
        "lightgbm", mlserver(attached=True)
    )


def test_of_one_server_only_what_that_can_get_is_advised() -> None:
    told = reason("lightgbm", server="mlserver")
    assert "server 'mlserver' does not offer 'lightgbm' (run `overbook runtime install" in told
    assert "does not offer 'pytorch'; offered" in reason("pytorch", server="mlserver")
