"""What is answered about models, whatever the transport."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from overbook.gateway.oip import answers as answers_module
from overbook.gateway.oip.answers import Answers
from overbook.gateway.oip.errors import NotAvailable, UnknownModel
from overbook.wire.limits import MAX_SHOWN
from tests.unit.gateway.oip.catalogue import FakeAllowed, FakeCatalogue, answers_of, example


async def test_a_metadata_source_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_: str) -> Mapping[str, object] | None:
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(answers_module, "METADATA_TIMEOUT_SECONDS", 0.0)
    answers = Answers(catalogue=example(), metadata=hang, servers=example(), allowed=FakeAllowed())
    with pytest.raises(NotAvailable, match="none of its server replicas answered"):
        await answers.metadata("iris")


def test_a_name_as_long_as_a_message_is_shown_in_part() -> None:
    catalogue = FakeCatalogue()
    answers = answers_of(catalogue)
    with pytest.raises(UnknownModel) as caught:
        answers.model("x" * 1_000_000)
    assert len(str(caught.value)) < MAX_SHOWN + 100


def test_extensions_are_those_of_the_servers_and_what_is_allowed() -> None:
    catalogue, allowed = example(), FakeAllowed()
    assert answers_of(catalogue, allowed).extensions == ["binary_tensor_data"]
    allowed.allowing = {"log": [None], "repository": [None]}
    assert answers_of(catalogue, allowed).extensions == [
        *("binary_tensor_data", "model_repository", "model_repository(unload_dependents)"),
        "logging",
    ]


def test_a_model_that_leaves_while_the_index_is_made_is_left_out() -> None:
    class Leaving(FakeCatalogue):
        def models(self) -> list[str]:
            return [*super().models(), "gone"]

    catalogue = Leaving(entries=example().entries)
    answers = answers_of(catalogue)
    assert [item.name for item in answers.index(ready_only=False)] == ["huge", "iris", "wine"]
