"""Makes a model resident for a request that found it cold: chooses a replica, asks its agent, waits.

All requests for one cold model share one call to an agent. Waiters are bounded in number and time. A
request whose client has left waits no longer. Knows nothing of ext_authz.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

from overbook.access.refusals import too_many_waiting
from overbook.gateway.agents import Agents, AgentUnreachable
from overbook.gateway.catalogue import Catalogue, CatalogueEntry
from overbook.gateway.errors import EnvoyUnavailable, SnapshotRejected
from overbook.gateway.router import Router
from overbook.gateway.sharing import SharedCalls
from overbook.gateway.snapshot.names import Protocol
from overbook.gateway.verdicts import Granted, NotServed, Refused, Verdict, refusal_of
from overbook.wire.agent_pb2 import ActivateReply
from overbook.wire.outcomes import outcome_of

# While no replica can be asked at all (an agent restarts, an artifact is on its way) a request waits.
_PATIENCE_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.1
_SOON_SECONDS: Final = 0.25
# A catalogue that has not arrived yet is not an empty one.
_CATALOGUE_SECONDS: Final = 5.0
# For a request whose time is over: the agent answers at once what it waited for.
_LAST_WORD_SECONDS: Final = 1.0
_AT_ONCE_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class ActivatorLimits:
    """Of waiting requests."""

    waiting: int = 20_000
    waiting_per_model: int = 4_000

    def within(self, descriptors: int) -> ActivatorLimits:
        """No more waiting requests than a process may have descriptors for. In Envoy each has two, its client's
        connection and that on which Envoy asks about it; half of all are left for what is not waiting.
        """
        if descriptors < 0:
            return self  # no limit
        return replace(self, waiting=min(self.waiting, descriptors // 4))


@dataclass(frozen=True, slots=True)
class Wish:
    """A request for a model. ``suspect``: it failed at a place where the model should have been.

    ``seconds``: for which its client waits at most. ``late``: they are over, and it waits no longer.
    ``token``: the name of its token, where that may not have any number of them waiting.
    """

    model: str
    protocol: Protocol
    suspect: bool
    seconds: float
    late: bool = False
    token: str = ""


class Activator:
    """Answers wishes. ``timeout``: seconds for which a request waits where the model does not say otherwise.

    ``most_waiting``: how many requests with a token may wait, None for any number. ``now``: a monotonic clock, seconds.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        agents: Agents,
        router: Router,
        limits: ActivatorLimits,
        timeout: float,
        most_waiting: Callable[[str], int | None],
        now: Callable[[], float],
    ) -> None:
        self._catalogue = catalogue
        self._agents = agents
        self._router = router
        self._limits = limits
        self._timeout = timeout
        self._now = now
        self._most_waiting = most_waiting
        self._waiting: Counter[str] = Counter()
        self._waiting_by_token: Counter[str] = Counter()
        self._calls: SharedCalls[tuple[str, str, int], ActivateReply] = SharedCalls()
        self._suspects = count(1)
        self._deadlines: set[asyncio.Timeout] = set()
        self._ended = ""

    def end(self, why: str) -> None:
        """Grant nothing any more: whoever waits, or comes, is refused with this reason at once."""
        self._ended = why
        for deadline in self._deadlines:
            deadline.reschedule(0.0)

    async def activate(self, wish: Wish) -> Verdict:
        """Where the request may go, or why it may not. Never raises but for cancellation."""
        entry = await self._find(wish.model)
        if isinstance(entry, Refused):
            return entry
        if self._ended:
            return self._refused_by_end(wish)
        if not entry.replicas:
            reason = entry.reason or "no replica has room for it"
            return Refused(
                NotServed.UNSCHEDULED, f"model {wish.model}: not scheduled: {reason}", 1.0
            )
        if not wish.suspect and (ready := self._ready(wish, entry)) is not None:
            return ready
        if (refused := self._too_many(wish)) is not None:
            return refused
        with _counted(self._waiting, wish.model), _counted(self._waiting_by_token, wish.token):
            return await self._wait(wish, entry)

    def _too_many(self, wish: Wish) -> Refused | None:
        most = self._most_waiting(wish.token) if wish.token else None
        if most is not None and self._waiting_by_token[wish.token] >= most:
            return Refused(NotServed.TOO_MANY, too_many_waiting(wish.token, most), 1.0)
        if self._waiting[wish.model] >= self._limits.waiting_per_model:
            many = f"model {wish.model}: too many requests wait for it"
            return Refused(NotServed.OVERLOADED, many, 1.0)
        if self._waiting.total() >= self._limits.waiting:
            many = f"model {wish.model}: too many requests wait for models"
            return Refused(NotServed.OVERLOADED, many, 1.0)
        return None

    async def _wait(self, wish: Wish, entry: CatalogueEntry) -> Verdict:
        try:
            seconds = min(wish.seconds, self._longest(entry))
            async with asyncio.timeout(seconds) as deadline:
                self._deadlines.add(deadline)
                try:
                    return await self._try_replicas(replace(wish, seconds=seconds))
                finally:
                    self._deadlines.discard(deadline)
        except TimeoutError:
            if self._ended:
                return self._refused_by_end(wish)
            return await self._last_word(replace(wish, late=True), entry, seconds)

    async def _last_word(self, wish: Wish, entry: CatalogueEntry, waited: float) -> Verdict:
        """What becomes of a request whose time is over: its agent says what it waited for, if it answers at once."""
        late = f"model {wish.model}: not resident within {waited:.3g} s"
        try:
            async with asyncio.timeout(_LAST_WORD_SECONDS):
                verdict = await self._ask(wish, self._preferred(entry)[0])
        except TimeoutError:
            return Refused(NotServed.DEADLINE, late, 1.0)
        if isinstance(verdict, Granted):
            return verdict
        said = verdict.reason.removeprefix(f"model {wish.model}: ")
        return Refused(NotServed.DEADLINE, f"{late}: {said}", verdict.retry_after or 1.0)

    def _refused_by_end(self, wish: Wish) -> Refused:
        return Refused(NotServed.UNAVAILABLE, f"model {wish.model}: {self._ended}", 1.0)

    def _ready(self, wish: Wish, entry: CatalogueEntry) -> Granted | None:
        """Where there is nothing to wait for: many that wait for other models are no reason to refuse it."""
        for replica in self._preferred(entry):
            if self._router.is_down(replica) or not self._router.is_hot(wish.model, replica):
                continue
            now = self._now()
            cluster = self._router.ready_cluster(wish.model, replica, wish.protocol, now=now)
            if cluster is not None:
                self._router.grant(wish.model, replica, wish.protocol, now)
                return Granted(cluster, asked=False)
        return None

    def _longest(self, entry: CatalogueEntry) -> float:
        return entry.activation_timeout or self._timeout

    async def _find(self, model: str) -> CatalogueEntry | Refused:
        entry = self._catalogue.find(model)
        if entry is None:
            try:
                async with asyncio.timeout(_CATALOGUE_SECONDS):
                    await self._catalogue.wait_known()
            except TimeoutError:
                unknown = "this gateway has not heard from the scheduler yet which models there are"
                return Refused(NotServed.UNAVAILABLE, f"model {model}: {unknown}", 1.0)
            entry = self._catalogue.find(model)
        return entry or Refused(NotServed.UNKNOWN, f"model {model}: not found")

    async def _try_replicas(self, wish: Wish) -> Verdict:
        patient_until = self._now() + _PATIENCE_SECONDS
        final: dict[str, Refused] = {}
        while True:
            entry = self._catalogue.find(wish.model)
            if entry is None:
                return Refused(NotServed.UNKNOWN, f"model {wish.model}: not found")
            left = [each for each in self._preferred(entry) if each not in final]
            verdict = await self._ask_in_turn(wish, left, final)
            if isinstance(verdict, Granted) or verdict.refusal is NotServed.DEADLINE:
                return verdict
            all_final = bool(final) and final.keys() >= set(entry.replicas)
            if all_final or self._now() > patient_until:
                # Who refused for good says more than who could not be asked.
                return next(reversed(final.values()), verdict)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _ask_in_turn(
        self, wish: Wish, replicas: list[str], final: dict[str, Refused]
    ) -> Verdict:
        """One replica after the other, until one grants or the time is over; else what the last one said.

        Who refused for good is noted in ``final``, and need not be asked again for this request.

        One that does not answer soon is not waited for alone when its server is gone, or when the next one
        has the model in memory: what a request finds in the moment in which a server dies.
        """
        if len(replicas) == 1:
            return await self._ask_noting(wish, replicas[0], final)
        last = Refused(
            NotServed.UNAVAILABLE, f"model {wish.model}: no replica can be reached now", 1.0
        )
        left, asked = deque(replicas), set[str]()
        running: set[asyncio.Task[Verdict]] = set()
        try:
            while left or running:
                if left and (not running or self._rather(wish.model, left[0], asked)):
                    asked.add(left[0])
                    name = f"activate {wish.model} on {left[0]}"
                    asking = self._ask_noting(wish, left.popleft(), final)
                    running.add(asyncio.create_task(asking, name=name))
                done, running = await asyncio.wait(
                    running,
                    timeout=_SOON_SECONDS if left else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for verdict in (task.result() for task in done):
                    if isinstance(verdict, Granted) or verdict.refusal is NotServed.DEADLINE:
                        return verdict
                    last = verdict
            return last
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)

    def _rather(self, model: str, replica: str, asked: set[str]) -> bool:
        place = self._router.places.find(model, replica)
        hot = place is not None and place.hot
        return hot or all(self._router.is_down(each) for each in asked)

    def _preferred(self, entry: CatalogueEntry) -> list[str]:
        """Where it is resident first; else always the same replica first, so that it stays the one."""
        if len(entry.replicas) == 1:
            return list(entry.replicas)
        hot = {place.replica for place in self._router.places.of_model(entry.name) if place.hot}

        def order(replica: str) -> tuple[bool, bool, bytes]:
            return (
                replica not in hot,
                self._router.is_down(replica),
                hashlib.blake2b(f"{entry.name}@{replica}".encode(), digest_size=8).digest(),
            )

        return sorted(entry.replicas, key=order)

    async def _ask_noting(self, wish: Wish, replica: str, final: dict[str, Refused]) -> Verdict:
        verdict = await self._ask(wish, replica)
        if isinstance(verdict, Refused) and verdict.refusal.final:
            final[replica] = verdict
        return verdict

    async def _ask(self, wish: Wish, replica: str) -> Verdict:
        """Activate on one replica; its cluster is prepared meanwhile.

        The agent is not asked about what it has declared hot: the model has no mark yet, or the request was on its
        way here when it got one, or is the first of its protocol.
        """
        opening = self._opening(wish, replica)
        try:
            while True:
                if not wish.suspect and self._router.is_hot(wish.model, replica):
                    cluster = await opening
                    # A new cluster takes a moment, and the model may have been taken back in it.
                    if self._router.is_hot(wish.model, replica):
                        return self._grant(wish, replica, cluster, asked=False)
                verdict = await self._ask_agent(wish, replica, opening)
                if verdict is not None:
                    return verdict
                await asyncio.sleep(_PAUSE_SECONDS)
        except AgentUnreachable as error:
            return Refused(NotServed.UNAVAILABLE, f"model {wish.model}: {error}", 1.0)
        except (EnvoyUnavailable, SnapshotRejected, ValueError) as error:
            return Refused(NotServed.UNAVAILABLE, f"model {wish.model}: {error}", 1.0)
        finally:
            await _discard(opening)

    async def _ask_agent(
        self, wish: Wish, replica: str, opening: asyncio.Future[str]
    ) -> Verdict | None:
        """None: it must be asked again, since who asked before had waited for longer."""
        link = self._agents.link(replica)
        if link is None:
            raise AgentUnreachable(f"agent of {replica}: not known yet")
        began = self._now()
        # Of a suspect, not shared: what was seen before this request failed proves nothing.
        number = next(self._suspects) if wish.suspect else -1 if wish.late else 0
        seconds = self._call_seconds(wish)
        async with self._calls.join(
            (wish.model, replica, number),
            lambda: link.call(wish.model, timeout=seconds, suspect=wish.suspect),
        ) as reply:
            refusal = refusal_of(outcome_of(reply))
            if refusal is NotServed.DEADLINE and not wish.late and self._now() - began < seconds:
                return None
            if refusal is not None:
                return _refused(wish.model, refusal, reply)
            # The agent keeps the model, also while it takes the route away, until all callers have gone from here.
            return self._grant(wish, replica, await opening, asked=True)

    def _call_seconds(self, wish: Wish) -> float:
        """The time of a call that others may join does not depend on who came first."""
        if wish.late:
            return _AT_ONCE_SECONDS
        entry = self._catalogue.find(wish.model)
        return wish.seconds if wish.suspect or entry is None else self._longest(entry)

    def _grant(self, wish: Wish, replica: str, cluster: str, *, asked: bool) -> Granted:
        self._router.grant(wish.model, replica, wish.protocol, self._now())
        return Granted(cluster, asked=asked)

    def _opening(self, wish: Wish, replica: str) -> asyncio.Future[str]:
        model, protocol, now = wish.model, wish.protocol, self._now()
        cluster = self._router.ready_cluster(model, replica, protocol, now=now)
        if cluster is None:
            return asyncio.ensure_future(
                self._router.open(model, replica, protocol, now=now, timeout=wish.seconds)
            )
        there: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        there.set_result(cluster)
        return there


@contextmanager
def _counted(counter: Counter[str], name: str) -> Iterator[None]:
    """Among those of this name while the block runs."""
    counter[name] += 1
    try:
        yield
    finally:
        counter[name] -= 1
        if not counter[name]:
            del counter[name]


async def _discard(future: asyncio.Future[str]) -> None:
    """End a task whose result, or failure, nobody needs any more."""
    if not future.done():
        future.cancel()
        await asyncio.wait({future})
    if not future.cancelled():
        future.exception()


def _refused(model: str, refusal: NotServed, reply: ActivateReply) -> Refused:
    said = reply.reason or refusal.label.replace("_", " ")
    advice = reply.retry_after_seconds or refusal.retry_after
    return Refused(refusal, f"model {model}: {said}", advice)
