"""Sees to it that the memory of a dropped model goes back to the kernel.

Most models are freed by their last reference; then the collector is not run, as it would walk every other resident
model's objects while requests wait (4 ms at 300 small models). It is for those with code of their own, as classes are
always in a cycle, and what hangs on them or on their modules goes with them. ``malloc_trim`` returns the holes that
many small arrays leave, `pools` those that Python's own objects leave; big arrays go back by themselves. To free a
forest of 100 MB at once takes 3 ms, in which the interpreter does nothing else: large models are taken apart in a
thread, and their parts let go of one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import types
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from overbook_mlserver import pools
from overbook_mlserver.scheduler_slice import long_slice

if TYPE_CHECKING:
    from mlserver.model import MLModel

# Parts that are told apart; the others go with what holds them.
_MOST_PARTS = 4_000
# Longer containers stay whole: to list what is in them takes as long as to free it.
_LONGEST = 2_000
# Not a model's own, or not worth a look.
_PASSED_OVER = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.NoneType,
    str,
    bytes,
    int,
    float,
)
_PAGE = os.sysconf("SC_PAGE_SIZE")
_libc = ctypes.CDLL(None)


class Dropped:
    """A model that nobody else refers to any more. ``small``: it is freed at once, on the event loop. ``own_code``: its
    class goes with it.
    """

    def __init__(self, model: MLModel, *, small: bool, own_code: bool) -> None:
        self._model: MLModel | None = model
        self._small = small
        self._own_code = own_code
        self._watched = []
        for part in (model, *vars(model).values()):
            if part is not model.settings:
                with contextlib.suppress(TypeError):
                    self._watched.append(weakref.ref(part))

    async def reclaim(self) -> None:
        """Returns when the memory is given back."""
        if self._small:
            self._model = None
            self._collect()
            pools.forget_names()
            trim()
        else:
            await asyncio.get_running_loop().run_in_executor(None, self._reclaim_aside)

    def _reclaim_aside(self) -> None:
        with long_slice():
            self._take_apart()

    def _take_apart(self) -> None:
        model, self._model = self._model, None
        assert model is not None
        parts = _parts(model, model.settings)
        del model
        # Whatever holds others goes before them.
        while parts:
            parts.popleft()
        self._collect()
        pools.forget_names()
        trim()

    def _collect(self) -> None:
        if self._own_code or any(part() is not None for part in self._watched):
            gc.collect()


def anonymous_bytes() -> int:
    """What this process holds that is in no file."""
    with open("/proc/self/statm", "rb") as file:
        fields = file.read().split()
    return (int(fields[1]) - int(fields[2])) * _PAGE


def trim() -> None:
    """A tenth of a millisecond where little was freed, ten of them after a large model."""
    pools.give_back()
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)


def _parts(root: Any, but: Any) -> deque[Any]:
    """The object and what it refers to, from the outside in, ``but`` for that."""
    found, seen = deque([root]), {id(root), id(but)}
    at = 0
    while at < len(found) and len(found) < _MOST_PARTS:
        whole = found[at]
        at += 1
        if isinstance(whole, (list, tuple, dict, set)) and len(whole) > _LONGEST:
            continue
        for part in gc.get_referents(whole):
            if id(part) not in seen and not isinstance(part, _PASSED_OVER):
                seen.add(id(part))
                found.append(part)
    return found
