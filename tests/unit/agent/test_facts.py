"""What was found out about an artifact outlives a restart as text, whatever somebody made of that."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.agent.facts import Facts, facts_in
from overbook.agent.kinds import ArtifactKind


@given(
    st.builds(
        Facts,
        st.builds(ArtifactKind, st.text(), st.integers(0, 1 << 60)),
        st.floats(0, 1e9),
        st.text(),
        st.lists(st.text()).map(tuple),
        st.sampled_from([None, True, False]),
    )
)
def test_they_come_back_as_they_were(facts: Facts) -> None:
    assert facts_in(facts.text) == facts


GOOD = json.loads(Facts(ArtifactKind("onnx", 5)).text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "null",
        "3",
        "[]",
        "{}",
        json.dumps({**GOOD, "kind": ["onnx"]}),
        json.dumps({**GOOD, "kind": ["onnx", "many"]}),
        json.dumps({**GOOD, "kind": ["onnx", float("inf")]}),
        json.dumps({**GOOD, "sequence_idle": "soon"}),
        json.dumps({**GOOD, "callees": 3}),
    ],
)
def test_what_cannot_be_read_is_not_known(text: str) -> None:
    assert facts_in(text) is None


def test_a_later_version_may_know_more() -> None:
    assert facts_in(json.dumps({**GOOD, "more": 1})) == Facts(ArtifactKind("onnx", 5))
