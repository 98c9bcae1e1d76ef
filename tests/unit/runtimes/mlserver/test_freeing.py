"""A dropped model is gone when `reclaim` returns: at once, or in a thread, part by part."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.runtimes.plugins import plugin_module

FREEING = plugin_module("mlserver", "overbook_mlserver/freeing.py")


class Part:
    """Notes in which thread it was freed."""

    def __init__(self, freed: list[threading.Thread]) -> None:
        self._freed = freed

    def __del__(self) -> None:
        self._freed.append(threading.current_thread())


class Model:
    def __init__(self, parts: list[Part]) -> None:
        self.settings = SimpleNamespace(name="m")
        self.parts = {"all": parts}


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("small", [True, False])
async def test_it_is_freed_by_its_last_reference(small: bool) -> None:
    freed: list[threading.Thread] = []
    shared = Part(freed)
    model = Model([Part(freed), Part(freed), shared])
    settings, gone = model.settings, weakref.ref(model)
    dropped = FREEING.Dropped(model, small=small)
    del model
    assert gone() is not None
    await dropped.reclaim()
    assert gone() is None
    assert settings.name == "m"
    assert len(freed) == 2, "what others refer to stays"
    assert {thread is threading.main_thread() for thread in freed} == {small}
    del shared


@pytest.mark.parametrize("small", [True, False])
async def test_one_that_refers_to_itself_is_collected(small: bool) -> None:
    model: Any = Model([])
    model.own = model
    gone = weakref.ref(model)
    dropped = FREEING.Dropped(model, small=small)
    del model
    await dropped.reclaim()
    assert gone() is None


async def test_long_containers_and_many_parts_are_freed_as_well() -> None:
    freed: list[threading.Thread] = []
    count = 3 * int(FREEING._MOST_PARTS)
    short = [[Part(freed)] for _ in range(100)]
    model = Model([Part(freed) for _ in range(count)])
    model.parts["nested"] = short  # type: ignore[assignment]  # any content will do
    dropped = FREEING.Dropped(model, small=False)
    del model, short
    await dropped.reclaim()
    assert len(freed) == count + 100
