"""What placement is told: a model's needs and every server replica's offer. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class ReplicaId(NamedTuple):
    """One process (or pod) of a Server, written ``mlserver/0``."""

    server: str
    replica: int

    def __str__(self) -> str:
        return f"{self.server}/{self.replica}"


@dataclass(frozen=True, slots=True)
class Unseen:
    """Why nothing is known of a model's files. ``waiting``: that comes by itself, else somebody has to do something.

    ``asked``: somebody has looked, and the source did not answer.
    """

    reason: str
    waiting: bool = True
    asked: bool = False


@dataclass(frozen=True, slots=True)
class ModelDemand:
    """``size``: bytes to reckon with. ``server``: the only Server it may go to, None for any.

    ``replicas``: 0 for a model that is to be served nowhere.
    ``takes``: bytes that it is known to take, None for ``size``.
    ``made_for``: the runtime whose own format its files are in, "" where that does not show.
    ``unseen``: nobody has looked at its files yet, so it goes to no place where it is not already.
    ``unregistered``: models that it calls and that nobody registered.
    """

    name: str
    size: int
    requirements: frozenset[str] = frozenset()
    replicas: int = 1
    min_replicas: int | None = None
    server: str | None = None
    made_for: str = ""
    takes: int | None = None
    unseen: Unseen | None = None
    unregistered: tuple[str, ...] = ()

    @property
    def taken(self) -> int:
        return self.size if self.takes is None else self.takes

    @property
    def needed(self) -> int:
        """How many replicas make it placed: ``minReplicas`` allows fewer, but not none."""
        return self.replicas if self.min_replicas is None else max(1, self.min_replicas)


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """A server replica as placement sees it.

    ``registered`` is the sum in bytes of the *other* models registered there, ``models`` their number.
    ``holds``: the model in question is there already, ``held``: and has a right to so many bytes, whatever others
    turned out to take. ``keeps``: where there is no place with room for it, it stays here, also above the limit.
    ``awaited``: not connected, but its agent is expected any moment. ``separate_process``:
    capabilities for which the server starts a process per model. ``attached``: somebody else's inference server,
    into which nothing can be installed. ``foreign``: names of models that it holds and that nobody registered.
    ``lacking``: models that the one in question calls, and that are not assigned here. ``own_packages``: its Server
    runs in an environment of its own.
    """

    id: ReplicaId
    capabilities: frozenset[str]
    budget: int
    overcommit_percent: int
    registered: int = 0
    models: int = 0
    connected: bool = True
    draining: bool = False
    holds: bool = False
    awaited: bool = False
    runtime: str = ""
    separate_process: frozenset[str] = frozenset()
    attached: bool = False
    foreign: frozenset[str] = frozenset()
    held: int = 0
    keeps: bool = False
    lacking: tuple[str, ...] = ()
    own_packages: bool = False

    @property
    def limit(self) -> int:
        """The most that may be registered, in bytes: M·(1+p/100), rounded down."""
        return self.budget * (100 + self.overcommit_percent) // 100

    def own_process_for(self, model: ModelDemand) -> frozenset[str]:
        """Which of the model's requirements make the server start a process for it alone; empty: none does."""
        return model.requirements & self.separate_process


@dataclass(frozen=True, slots=True)
class Provider:
    """Who could offer a word that nobody offers now.

    ``extra``: what must be installed into the runtime, "" when it always has it. ``attached``: it is not ours
    to install; an inference server that somebody else runs may have it.
    """

    word: str
    runtime: str
    extra: str = ""
    attached: bool = False
