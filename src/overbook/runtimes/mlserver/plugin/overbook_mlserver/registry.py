"""MLServer's model registry, with what an agent that loads and unloads all day needs.

- A load does not block the event loop: the model's class is imported and its ``load`` runs in a thread
  with an event loop of its own (hot p99 while 100 MB forests load: 17 ms, not 527 ms; see `aside`), but
  for those that are known to be as short as a prediction (see `short_loads`). A
  model whose ``load`` binds things to the loop it will be served from asks for the old way with
  ``"parameters": {"extra": {"overbook_load_on_loop": true}}``.
- A load that fails, is cancelled, exits or answers False leaves no trace, and a reload that does so
  leaves the old model serving. The reason names the error's type: ``str(EOFError())`` is empty.
- A name has one generation at a time, and no slots for versions: a request that names a version gets it where the
  model's settings name the same, else 404.
- After a load or an unload what is free is given back to the kernel before the call ends: an unpickled forest leaves
  as much garbage as it is large, and whoever looks at the process would take that for somebody's.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from mlserver.context import model_context
from mlserver.errors import MLServerError, ModelNotFound
from mlserver.logging import logger
from mlserver.model import MLModel
from mlserver.registry import MultiModelRegistry
from mlserver.settings import ModelSettings

from overbook_mlserver import calls
from overbook_mlserver.activity import Activity, Growth, Rest
from overbook_mlserver.books import Books
from overbook_mlserver.freeing import Dropped, anonymous_bytes, trim
from overbook_mlserver.offload import LoadFailed, describe, in_thread
from overbook_mlserver.repository import IsolatedSettings
from overbook_mlserver.scheduler_slice import long_slice
from overbook_mlserver.short_loads import ShortLoads
from overbook_mlserver.unanswered import NotHere

# What a model's own ``unload`` may take.
_UNLOAD_SECONDS = 30.0


def _reading(model: MLModel) -> str:
    """Which file a runtime of MLServer's own was at: a corrupt pickle only says "pop from empty list"."""
    parameters = model.settings.parameters
    uri = parameters.uri if parameters is not None else None
    if not uri or not type(model).__module__.startswith("mlserver"):
        return ""
    return f", while reading {os.path.basename(uri)}"


def _giving_way(load: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
    async def loading() -> bool:
        with long_slice():
            return await load()

    return loading


class Initialiser:
    """Makes the model object, whose ``load`` then runs aside, unless it is known to be short."""

    def __init__(self, short_loads: ShortLoads) -> None:
        self._short_loads = short_loads

    def __call__(self, settings: ModelSettings) -> MLModel:
        try:
            model = settings.implementation(settings)
        except MLServerError:
            raise
        except BaseException as error:
            raise LoadFailed(describe(error)) from error
        inside, aside = self._way(settings, model.load)

        async def load() -> bool:
            # The wrapper and the model hold each other: undone here, or only the collector could free them.
            del model.load
            try:
                ready = await (in_thread(_giving_way(inside)) if aside else inside())
            except (MLServerError, asyncio.CancelledError):
                raise
            except BaseException as error:
                raise LoadFailed(describe(error) + _reading(model)) from error
            if not ready:
                raise LoadFailed(
                    f"load() of {type(model).__name__} returned {ready!r}, expected True"
                )
            return True

        model.load = load
        return model

    def _way(
        self, settings: ModelSettings, plain: Callable[[], Awaitable[bool]]
    ) -> tuple[Callable[[], Awaitable[bool]], bool]:
        """What to call, and whether in a thread."""
        on_loop = isinstance(settings, IsolatedSettings) and settings.load_on_loop
        space = settings.space if isinstance(settings, IsolatedSettings) else None
        if space is None:
            short = self._short_loads.expected(settings)
            return functools.partial(self._short_loads.timed, settings, plain), not (
                on_loop or short
            )

        async def in_its_space() -> bool:
            with space.active():
                return await plain()

        return in_its_space, not on_loop


class Registry(MultiModelRegistry):
    def __init__(
        self, short_loads: ShortLoads, activity: Activity, books: Books, **hooks: Any
    ) -> None:
        super().__init__(model_initialiser=Initialiser(short_loads), **hooks)
        self._short_loads = short_loads
        self._activity = activity
        self._growth = Growth(activity)
        self._books = books

    async def load(self, model_settings: ModelSettings) -> MLModel:
        with self._activity.going_on():
            model = await self._load(model_settings)
            rest = Rest(self._activity)
            await self._give_back(model_settings)
            self._growth.loaded(model_settings.name.encode(), anonymous_bytes(), rest)
        return model

    async def grown(self, name: str) -> int | None:
        """Bytes that the model has allocated since its load; None when that cannot be told."""
        model, key = self.held(name), name.encode()
        if model is None or not self._growth.alone(key):
            return None
        await self._give_back(model.settings)
        return self._growth.since(key, anonymous_bytes())

    async def _give_back(self, settings: ModelSettings) -> None:
        if self._short_loads.expected(settings):
            trim()
        else:
            await asyncio.get_running_loop().run_in_executor(None, trim)

    async def _load(self, model_settings: ModelSettings) -> MLModel:
        name = model_settings.name
        previous = self.held(name)
        try:
            with self._books.opened() as book:
                if not _imported(model_settings):
                    await calls.during(calls.LOAD, name, in_thread(_importing(model_settings)))
                loading = super().load(model_settings)
                model = await calls.during(calls.LOAD, name, loading)
        except BaseException as error:
            await self._undo(name, model_settings, error)
            if isinstance(error, (MLServerError, asyncio.CancelledError)):
                raise
            raise LoadFailed(describe(error)) from error
        self._books.begin(name, book)
        if previous is not None:
            _forget(previous.settings)
            dropped = self._dropped(previous)
            del previous
            await dropped.reclaim()
        return model

    async def unload(self, name: str) -> None:
        await self.unload_said(name)

    async def unload_said(self, name: str) -> str:
        """Unload; what went wrong with the model's own ``unload``, in words, or nothing."""
        self._growth.gone(name.encode())
        with self._activity.going_on():
            return await self._unload(name)

    async def unload_measured(self, name: str) -> tuple[int | None, str]:
        """Unload, and say how many bytes that gave back; None when that cannot be told, as something else went on.

        And what `unload_said` says.
        """
        with self._activity.going_on():
            self._growth.gone(name.encode())
            rest, model = Rest(self._activity), self.held(name)
            if model is not None:
                gc.collect()  # what others left in cycles is not this model's
                await self._give_back(model.settings)
                del model
            before = anonymous_bytes()
            said = await self._unload(name)
            gave = before - anonymous_bytes() if rest.lasted and not said else None
            return gave, said

    async def _unload(self, name: str) -> str:
        leaving = self.held(name)
        if leaving is None:
            await super().unload(name)
            return ""
        said = ""
        dropped, settings = self._dropped(leaving), leaving.settings
        del self._models[name]
        try:
            await self._retire(leaving)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            logger.exception("unload() of '%s' failed; it is dropped all the same", name)
            said = f"its unload() failed: {describe(error)}"
        finally:
            # Also when the caller has lost patience with the model's own unload().
            del leaving
            self._books.end(name)
            _forget(settings)
        await dropped.reclaim()
        return said

    def _dropped(self, model: MLModel) -> Dropped:
        settings = model.settings
        own_code = isinstance(settings, IsolatedSettings) and settings.space is not None
        return Dropped(model, small=self._short_loads.expected(settings), own_code=own_code)

    async def _retire(self, model: MLModel) -> None:
        """What MLServer does, one step after the other: its gathering them waits for the loop twice."""
        with model_context(model.settings):
            for hook in self._on_model_unload:
                try:
                    await hook(model)
                except Exception:
                    logger.exception("a hook failed at the unload of '%s'", model.name)
            model.ready = not await _unloaded(model)

    async def get_model(self, name: str, version: str | None = None) -> MLModel:
        """Raises NotHere."""
        try:
            model = await super().get_model(name)
        except ModelNotFound:
            raise NotHere(name) from None
        if version and version not in (model.settings.versions or ()):
            raise NotHere(name, version)
        return model

    def held(self, name: str) -> MLModel | None:
        """The model of that name, ready or not."""
        single = self._models.get(name)
        return single.default if single is not None else None

    async def _undo(self, name: str, settings: ModelSettings, error: BaseException) -> None:
        """Forget a load that did not end well; MLServer keeps an empty or never-ready entry."""
        _forget(settings)
        _drop_locals(error)
        half_loaded = self.held(name)
        if half_loaded is None or half_loaded.settings is settings:
            self._models.pop(name, None)
        if half_loaded is not None and half_loaded.settings is settings:
            # MLServer runs these after an error, but not when the caller went away.
            for hook in self._on_model_unload:
                await hook(half_loaded)
        del half_loaded
        # Rare enough to be thorough: whatever it had read must not count against the others.
        gc.collect()
        await asyncio.get_running_loop().run_in_executor(None, trim)


async def _unloaded(model: MLModel) -> bool:
    """What its ``unload`` says. One that does not end is left to itself: others need not pay with their process."""
    if type(model).unload is MLModel.unload:
        return await model.unload()
    work = calls.during(calls.UNLOAD, model.name, model.unload())
    unloading = asyncio.create_task(work, name=f"unload {model.name}")
    try:
        await asyncio.wait({unloading}, timeout=_UNLOAD_SECONDS)
        if not unloading.done():
            raise TimeoutError(f"it did not end within {_UNLOAD_SECONDS:g} s")
        return unloading.result()
    finally:
        unloading.cancel()


def _forget(settings: ModelSettings) -> None:
    if isinstance(settings, IsolatedSettings):
        settings.forget()


def _imported(settings: ModelSettings) -> bool:
    return isinstance(settings, IsolatedSettings) and settings.imported


def _importing(settings: ModelSettings) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        settings.implementation  # noqa: B018  (importing is what reading it does)

    return run


def _drop_locals(error: BaseException) -> None:
    """The frames of a failed load hold what it had read so far, and an error may live on in a cycle."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
