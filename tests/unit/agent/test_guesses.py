"""First guesses of sizes: the artifact's share, and the process that only this model pays for."""

from __future__ import annotations

from overbook.agent.guesses import SMALLEST, Guess

MIB = 1024 * 1024


def test_files_are_more_in_memory_and_never_nothing() -> None:
    assert Guess().bytes(100_000, []) == 120_000
    assert Guess().bytes(0, []) == SMALLEST


def test_a_process_of_its_own_is_added_the_largest_that_a_requirement_asks_for() -> None:
    guess = Guess({"onnx": 70 * MIB, "python": 40 * MIB})
    assert guess.bytes(100_000, ["triton", "onnx"]) == 120_000 + 70 * MIB
    assert guess.bytes(0, ["onnx", "python"]) == SMALLEST + 70 * MIB


def test_a_model_that_does_not_say_gets_the_smallest_process() -> None:
    guess = Guess({"onnx": 70 * MIB, "python": 40 * MIB})
    assert guess.bytes(100_000, ["triton"]) == 120_000 + 40 * MIB
    assert guess.bytes(100_000, []) == 120_000 + 40 * MIB
