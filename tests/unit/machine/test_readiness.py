"""`/readyz` of a machine: when everything that was given is ready, by fields that the control API describes."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from overbook.client.control import ControlClient
from overbook.client.http import Reply
from overbook.machine import readiness
from overbook.machine.readiness import Readiness
from tests.unit.client.fake_overbook import model, running, server
from tests.unit.client.reading import asked, names_in


async def test_what_was_given_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    names: set[str] = set()
    json = Reply.json
    monkeypatch.setattr(Reply, "json", lambda reply: asked(json(reply), names))
    # A few are asked for one by one, many as a list.
    for count in (1, 21):
        given = [f"m{number}" for number in range(count)]
        made = Readiness()
        with running() as fake:
            fake.add(*(model(name) for name in given), server("mlserver"))
            async with asyncio.timeout(10):
                await made.wait(partial(ControlClient, fake.url), given)
        assert made.missing() is None
    assert names == names_in(readiness)
