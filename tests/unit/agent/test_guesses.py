"""Guesses of sizes: first ones by kind, what experience teaches, and the process that only this model pays for."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.agent.guesses import NEWEST, SMALLEST, Expectation, Experience, Guess, prior
from overbook.agent.kinds import ArtifactKind

MIB = 1024 * 1024


def test_the_process_is_the_largest_that_a_requirement_asks_for() -> None:
    guess = Guess({"onnx": 70 * MIB, "python": 40 * MIB})
    assert guess.process(["triton", "onnx"]) == guess.process(["onnx", "python"]) == 70 * MIB
    assert Guess().process(["onnx"]) == 0


def test_a_model_that_does_not_say_gets_the_smallest_process() -> None:
    guess = Guess({"onnx": 70 * MIB, "python": 40 * MIB})
    assert guess.process(["triton"]) == guess.process([]) == 40 * MIB


FOREST = (
    "pickle:sklearn.ensemble._forest.RandomForestClassifier"
    "+sklearn.tree._classes.DecisionTreeClassifier"
)
TEXT = "pickle:sklearn.pipeline.Pipeline+sklearn.feature_extraction.text.TfidfVectorizer"
# What real models became, measured by other means: a process of its own, its private memory before and after.
# Bytes of the file, kept, and at most while it loaded.
FORESTS = [
    (788_868, 827_392, 1_708_032),
    (6_880_092, 7_143_424, 13_963_264),
    (20_084_120, 20_606_976, 40_570_880),
]
TEXTS = [
    (950_050, 3_178_496, 3_645_440),
    (5_157_709, 19_759_104, 24_883_200),
    (7_857_197, 24_010_752, 29_278_208),
]
BOOSTERS = [
    ("xgboost-json", 5_983_355, 5_603_328, 73_326_592),
    ("xgboost-ubj", 3_560_671, 5_722_112, 18_608_128),
    ("onnx-trees", 12_516_744, 49_672_192, 146_231_296),
]


def of(word: str, size: int) -> Expectation:
    return Experience().expect(ArtifactKind(word, size))


def knowing(*known: tuple[str, int, int]) -> Experience:
    made = Experience()
    for number, (word, size, kept) in enumerate(known):
        made.note(f"digest-{number}", ArtifactKind(word, size), kept)
    return made


@pytest.mark.parametrize(
    ("word", "size", "kept", "peak"),
    [*((FOREST, *each) for each in FORESTS), *((TEXT, *each) for each in TEXTS), *BOOSTERS],
)
def test_first_guesses_fit_what_was_measured(word: str, size: int, kept: int, peak: int) -> None:
    guess = of(word, size)
    assert guess.likely == pytest.approx(kept, rel=0.35)
    assert guess.likely <= guess.cautious <= guess.loading
    assert kept <= guess.cautious <= 1.7 * kept
    assert peak <= guess.loading * 1.02
    assert not guess.learned


def test_three_text_pipelines_teach_nothing_of_ten_forests() -> None:
    experience = knowing(*((TEXT, size, kept) for size, kept, _ in TEXTS))
    for size, kept, _ in FORESTS:
        assert experience.expect(ArtifactKind(FOREST, size)).likely == pytest.approx(kept, rel=0.1)
    assert experience.expect(ArtifactKind(FOREST, 1 << 20)) == of(FOREST, 1 << 20)
    assert experience.expect(ArtifactKind(TEXT, 6_000_000)).learned


def test_three_of_a_kind_teach_and_two_do_not() -> None:
    word = "pickle:own.Model"
    two = knowing((word, 1 << 20, 5 << 20), (word, 2 << 20, 10 << 20))
    assert two.expect(ArtifactKind(word, 1 << 20)) == of(word, 1 << 20)
    two.note("third", ArtifactKind(word, 3 << 20), 15 << 20)
    assert two.expect(ArtifactKind(word, 4 << 20)).likely == pytest.approx(20 << 20, rel=0.02)


def test_the_middle_is_likely_and_hardly_one_is_above_what_is_cautious() -> None:
    word, rng = "pickle:own.Model", random.Random(1)
    sizes = [rng.randrange(1 << 20, 4 << 20) for _ in range(200)]
    kept = [int(size * rng.uniform(1.0, 3.0)) for size in sizes]
    experience = knowing(*((word, *each) for each in zip(sizes[:60], kept[:60], strict=True)))
    guesses = [experience.expect(ArtifactKind(word, size)) for size in sizes[60:]]
    above = sum(took > guess.cautious for took, guess in zip(kept[60:], guesses, strict=True))
    assert above <= 5
    assert guesses[0].likely == pytest.approx(2 * sizes[60], rel=0.15)
    assert guesses[0].cautious <= 3.3 * sizes[60]


def test_few_that_differ_leave_more_room_than_many() -> None:
    word, ratios = "pickle:own.Model", [2.0, 2.5, 3.0]
    few = knowing(*((word, 1 << 20, int(each * (1 << 20))) for each in ratios))
    many = knowing(*((word, 1 << 20, int(each * (1 << 20))) for each in ratios * 20))
    assert (
        few.expect(ArtifactKind(word, 1 << 20)).cautious
        > many.expect(ArtifactKind(word, 1 << 20)).cautious
    )


def test_small_ones_teach_nothing_of_large_ones() -> None:
    small = knowing(*((TEXT, 100_000, 130_000 + number) for number in range(5)))
    assert small.expect(ArtifactKind(TEXT, 700_000)).learned
    assert small.expect(ArtifactKind(TEXT, 5_158_108)) == of(TEXT, 5_158_108)


def test_tiny_ones_do_not_make_factors_of_thousands() -> None:
    word = "pickle:own.Model"
    tiny = knowing(*((word, 600, 60_000) for _ in range(4)))
    assert tiny.expect(ArtifactKind(word, 4_000)).likely < 100_000


def test_one_odd_measurement_among_many_is_left_out() -> None:
    word = "pickle:own.Model"
    experience = knowing(*((word, 1 << 20, (2 << 20) + number) for number in range(12)))
    experience.note("odd", ArtifactKind(word, 1 << 20), 390 << 20)
    assert experience.expect(ArtifactKind(word, 1 << 20)).cautious < 3 << 20


def test_a_content_counts_once_and_is_forgotten() -> None:
    word = "pickle:own.Model"
    experience = knowing((word, 1 << 20, 5 << 20), (word, 1 << 20, 5 << 20))
    for _ in range(5):
        experience.note("digest-0", ArtifactKind(word, 1 << 20), 7 << 20)
    assert not experience.expect(ArtifactKind(word, 1 << 20)).learned
    experience.note("third", ArtifactKind(word, 1 << 20), 5 << 20)
    assert experience.expect(ArtifactKind(word, 1 << 20)).learned
    experience.forget("third")
    experience.forget("never seen")
    assert experience.expect(ArtifactKind(word, 1 << 20)) == of(word, 1 << 20)


def test_the_newest_teach() -> None:
    word = "pickle:own.Model"
    experience = knowing(*((word, 1 << 20, 9 << 20) for _ in range(NEWEST)))
    for number in range(NEWEST):
        experience.note(f"new-{number}", ArtifactKind(word, 1 << 20), 2 << 20)
    assert experience.expect(ArtifactKind(word, 1 << 20)).cautious < 3 << 20


def test_kinds_without_end_are_not_all_remembered() -> None:
    experience = knowing(
        *((f"pickle:own.Model{number}", 1 << 20, 9 << 20) for number in range(5000))
    )
    for number in range(5000):
        experience.forget(f"digest-{number}")
    assert experience.expect(ArtifactKind("pickle:own.Model4999", 1 << 20)) == of(
        "pickle:own.X", 1 << 20
    )


def test_what_loading_takes_is_learned_where_it_was_seen() -> None:
    word, size = "pickle:own.Model", 1 << 20
    seen = Experience()
    for number in range(3):
        seen.note(str(number), ArtifactKind(word, size), 2 * size, loading=9 * size)
    assert seen.expect(ArtifactKind(word, size)).loading == pytest.approx(9.45 * size, rel=0.02)
    unseen = knowing(*((word, size, 2 * size) for _ in range(3)))
    # Twice what it keeps, as pickles are.
    assert unseen.expect(ArtifactKind(word, size)).loading == pytest.approx(4 * size, rel=0.05)


def test_a_process_of_its_own_is_no_part_of_the_factor() -> None:
    experience, process = Experience(), 40 * MIB
    for number in range(3):
        experience.note(
            str(number),
            ArtifactKind("onnx", MIB),
            process + 2 * MIB,
            loading=process + 3 * MIB,
            process=process,
        )
    guess = experience.expect(ArtifactKind("onnx", 4 * MIB), process=process)
    assert guess.likely == pytest.approx(process + 8 * MIB, rel=0.01)
    assert guess.loading < process + 14 * MIB
    assert experience.expect(ArtifactKind("onnx", 0)).likely < MIB


def test_what_stands_around_a_format_does_not_hide_it() -> None:
    for around in ("code:", "mlflow:sklearn:"):
        assert prior(around + FOREST) == prior(FOREST)
    assert prior(FOREST.replace("pickle", "joblib-zlib")) == prior(FOREST)
    assert prior("code") == prior("files") == prior("mlflow:pyfunc") == prior("")
    assert prior("joblib-packed") != prior("pickle")


@given(
    st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 42)), max_size=80),
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 30),
)
def test_a_guess_is_never_less_than_nothing_and_always_in_order(
    known: list[tuple[int, int]], size: int, process: int
) -> None:
    experience = knowing(*(("onnx", *each) for each in known))
    guess = experience.expect(ArtifactKind("onnx", size), process=process)
    assert SMALLEST + process <= guess.likely <= guess.cautious <= guess.loading
