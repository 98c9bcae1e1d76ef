"""Tells a story to a real core, and writes down what the core says.

The world around the core checks all laws at every step (`world`, `mirror`), and that the story tells nothing which
could not happen. At the end of a story its log is replayed, which must give the same effects.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Final

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.core import IllegalEvent
from overbook.residency.events import Event, ModelName
from overbook.residency.replica import Limits
from tests.unit.residency.telling import words
from tests.unit.residency.telling.arguments import Arguments, WrongCommand, seconds, sized, whole
from tests.unit.residency.telling.commands import EVENTS, Scene
from tests.unit.residency.telling.text import Block, Command, Story, StoryError
from tests.unit.residency.world import LIMITS, World

_ILLEGAL: Final = "illegal "
# What the inference server must have been asked, so that this can be its answer.
_ANSWERS: Final[dict[type, type]] = {
    ev.LoadSucceeded: fx.Load,
    ev.LoadFailed: fx.Load,
    ev.Unloaded: fx.Unload,
    ev.Verified: fx.Verify,
}


def _limits(said: dict[str, str]) -> Limits:
    """`LIMITS`, but for those that a story names, with dashes in their names."""
    changed: dict[str, Any] = {}
    kinds = {field.name: type(field.default) for field in fields(Limits)}
    for name, text in said.items():
        field = name.replace("-", "_")
        if field not in kinds:
            raise WrongCommand(f"there is no limit '{name}'")
        changed[field] = whole(text) if kinds[field] is int else seconds(text)
    return replace(LIMITS, **changed)


def _files(text: str) -> ev.Files:
    names, size = sized(text)
    return ev.Files(size, tuple(ModelName(name) for name in names.split("+")))


class Teller:
    """Of one story."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._scene: Scene | None = None
        self._told = 0  # events of the log that the story has spoken of
        # Commands that stand for no single event. Each returns lines that are said before the effects.
        self.commands: Final[dict[str, Callable[[Arguments], list[str]]]] = {
            "replica": self._replica,
            "resident": self._resident,
            "pass-on": self._pass_on,
            "gone": self._gone,
            "disk": self._disk,
            "settle": self._settle,
            "wait": self._wait,
            "tick": self._tick,
            "due": self._due,
            "describe": self._describe,
            "stands-in": self._stands_in,
            "awaited": self._awaited,
            "starved": self._starved,
            "statistics": self._statistics,
        }

    def tell(self, story: Story) -> list[list[str]]:
        """What was said of each block. Raises StoryError, or AssertionError where a law was broken."""
        said = [self._block(block) for block in story.blocks]
        if self._scene is None:
            raise StoryError(self._file, story.line, "a story begins with the command 'replica'")
        self._scene.world.replay()
        return said

    def _block(self, block: Block) -> list[str]:
        scene, told = self._scene, self._told
        lines = [line for command in block.commands for line in self._command(command)]
        if self._scene is not scene or self._told != told:
            lines.append(words.table(self._world.core))
        return lines

    def _command(self, command: Command) -> list[str]:
        try:
            if command.text.startswith(_ILLEGAL):
                return self._illegal(Arguments.of(command.text.removeprefix(_ILLEGAL)))
            said = Arguments.of(command.text)
            if said.name in self.commands:
                lines = self.commands[said.name](said)
                said.end()
            else:
                lines = []
                for one in said.one_by_one():
                    self._say(self._event(one))
        except (WrongCommand, IllegalEvent) as error:
            raise StoryError(self._file, command.line, str(error)) from None
        except BaseException as error:  # `pytest.raises`, too, fails with more than an Exception
            error.add_note(f"{self._file}:{command.line}: {command.text}")
            raise
        return [*lines, *self._effects()]

    @property
    def _at(self) -> Scene:
        if self._scene is None:
            raise WrongCommand("a story begins with the command 'replica'")
        return self._scene

    @property
    def _world(self) -> World:
        return self._at.world

    def _effects(self) -> list[str]:
        """What the core said since the last command."""
        log = self._world.log
        told, self._told = self._told, len(log)
        return [words.effect(effect, self._at.name) for _, _, said in log[told:] for effect in said]

    # -- events

    def _event(self, said: Arguments) -> Event:
        if said.name not in EVENTS:
            raise WrongCommand(f"there is no command '{said.name}'")
        event = EVENTS[said.name](said, self._at)
        said.end()
        return event

    def _say(self, event: Event) -> None:
        if isinstance(event, ev.RequestArrived):
            self._at.came(event.request, event.model)
        if isinstance(event, ev.LoadSucceeded | ev.LoadFailed | ev.Unloaded | ev.Verified):
            self._answered(event.model, _ANSWERS[type(event)])
        self._world.say(event)

    def _answered(self, model: ModelName, kind: type) -> None:
        """The inference server is done with the oldest call for the model."""
        calls = self._world.calls
        if model not in calls or not isinstance(calls[model][0], kind):
            raise WrongCommand(
                f"the inference server was not asked to {kind.__name__.lower()} {model}"
            )
        calls[model].popleft()
        if not calls[model]:
            del calls[model]

    def _illegal(self, said: Arguments) -> list[str]:
        return [f"illegal: {self._world.say_illegal(self._event(said))}"]

    # -- how stories begin and end

    def _replica(self, said: Arguments) -> list[str]:
        """A server that is up, with cold models."""
        budget, up = said.must_number("budget"), said.flag("up", True)
        models = [sized(each) for each in said.rest()]
        world = World(budget, _limits(said.named()))
        if up:
            world.say(ev.ServerUp())
        for model, size in models:
            world.say(ev.Register(model, size, 1, warm=False))
        self._scene, self._told = Scene(world), 0
        return []

    def _resident(self, said: Arguments) -> list[str]:
        """Each was loaded for a request, in this order, and all are idle. How that goes is left out."""
        self._world.make_resident(*(ModelName(name) for name in said.rest()))
        self._told = len(self._world.log)
        return []

    def _settle(self, said: Arguments) -> list[str]:
        self._world.settle()
        return []

    # -- what goes without saying

    def _pass_on(self, said: Arguments) -> list[str]:
        self._world.pass_on(*(ModelName(name) for name in said.rest()))
        return []

    def _gone(self, said: Arguments) -> list[str]:
        """What is left of each model's drain is done, and its unload."""
        for name in said.rest():
            model = ModelName(name)
            self._world.drained(model)
            self._say(ev.Unloaded(model))
        return []

    def _disk(self, said: Arguments) -> list[str]:
        """Bytes are missing on the disk; files that models in memory hold are written `a:4`, those of two `a+b:4`."""
        missing, since = whole(said.next("bytes")), self._at.at(said.seconds("since", 0.0))
        files = tuple(_files(each) for each in said.rest())
        self._say(ev.DiskRoomWanted(missing, files, since))
        return []

    # -- time

    def _wait(self, said: Arguments) -> list[str]:
        self._world.now += seconds(said.next("seconds"))
        return []

    def _tick(self, said: Arguments) -> list[str]:
        """Time passes, and the core is told. ``due``: until it wants to be told."""
        world, much = self._world, said.next("seconds, or due")
        due = much == "due"
        pause = world.core.next_wakeup() - world.now if due else seconds(much)
        if pause == math.inf:
            raise WrongCommand("nothing is due")
        world.now += pause
        world.say(ev.Tick())
        return [f"{pause:g} s later"] if due else []

    # -- questions

    def _due(self, said: Arguments) -> list[str]:
        due = self._world.core.next_wakeup()
        return ["due: never" if due == math.inf else f"due: in {due - self._world.now:g} s"]

    def _describe(self, said: Arguments) -> list[str]:
        model = said.model()
        return [
            f"{model}: {line}" for line in words.described(self._world.core, model, self._world.now)
        ]

    def _stands_in(self, said: Arguments) -> list[str]:
        generation = self._world.core.stands_in(said.model())
        return [f"stands in: {f'generation {generation}' if generation else 'nothing'}"]

    def _awaited(self, said: Arguments) -> list[str]:
        awaited = self._world.core.awaited(self._world.now)
        return [f"awaited: {' '.join(awaited) or 'nobody'}"]

    def _starved(self, said: Arguments) -> list[str]:
        return [f"starved: {'yes' if self._world.core.starved() else 'no'}"]

    def _statistics(self, said: Arguments) -> list[str]:
        return [words.statistics(self._world.core)]
