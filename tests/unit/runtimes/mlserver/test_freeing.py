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
    def __init__(self, *parts: object) -> None:
        self.settings = SimpleNamespace(name="m")
        self.parts = parts


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("small", [True, False])
async def test_it_is_freed_by_its_last_reference(small: bool) -> None:
    freed: list[threading.Thread] = []
    shared = Part(freed)
    model = Model(Part(freed), Part(freed), shared)
    settings, gone = model.settings, weakref.ref(model)
    dropped = FREEING.Dropped(model, small=small, own_code=False)
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
    model: Any = Model()
    model.own = model
    gone = weakref.ref(model)
    dropped = FREEING.Dropped(model, small=small, own_code=False)
    del model
    await dropped.reclaim()
    assert gone() is None


@pytest.mark.parametrize("small", [True, False])
async def test_what_hangs_on_a_class_of_its_own_goes_with_it(small: bool) -> None:
    freed: list[threading.Thread] = []
    own = type("Own", (Model,), {"table": Part(freed)})
    dropped = FREEING.Dropped(own(), small=small, own_code=True)
    del own
    await dropped.reclaim()
    assert len(freed) == 1


async def test_long_containers_and_many_parts_are_freed_as_well() -> None:
    freed: list[threading.Thread] = []
    count = 3 * int(FREEING._MOST_PARTS)
    model = Model([Part(freed) for _ in range(count)], [[Part(freed)] for _ in range(100)])
    dropped = FREEING.Dropped(model, small=False, own_code=False)
    del model
    await dropped.reclaim()
    assert len(freed) == count + 100


def test_a_model_is_taken_apart_from_the_outside_in_without_what_is_not_its_own() -> None:
    trees = [Part([]) for _ in range(3)]
    model = Model(trees, len, gc, Model, "word", 7)
    parts = list(FREEING._parts(model, model.settings))
    assert parts[0] is model
    places = [next(at for at, part in enumerate(parts) if part is tree) for tree in trees]
    holder = next(at for at, part in enumerate(parts) if part is trees)
    assert holder < min(places)
    for other in (model.settings, len, gc, Model, "word", 7):
        assert not any(part is other for part in parts)
