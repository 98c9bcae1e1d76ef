"""What is known of whether contents can be loaded in this runtime: before that is known no model is called available.

Theory of operation. A content is *verified* once it was loaded: by the server, or in a trial where nothing depends on
it (a weighing, which happens in a process apart). That is known for good, also across restarts. It has *failed* when
its trial raised, and then stays so until a load in the server shows otherwise, as some models can be loaded only there.
A trial whose process ended, or was ended, proves nothing: the machine may have been short of memory, or a framework may
not bear to be forked. Nor does one that failed for what may pass (`reasons`), such as a full disk. Then, and when
nobody had found the room to try it after `PATIENCE`, the content is *unverified*: available, and said to be so.
Requests never wait for any of this; who asks for a model has it loaded.

Pure: time is an argument, and who tries is `verifier`'s and `memory.weigher`'s.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final

from overbook.agent.proven import Proven
from overbook.agent.servers.protocol import PreparedModel

# Seconds after which a content that could not be tried is available all the same.
PATIENCE: Final = 60.0


class Standing(Enum):
    PENDING = "pending"
    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``reason``: for people; "" when it is verified."""

    standing: Standing
    reason: str = ""


_VERIFIED: Final = Verdict(Standing.VERIFIED)
_PENDING: Final = Verdict(Standing.PENDING, "it has not been loaded yet; a trial load is waiting")
_LATE: Final = Verdict(
    Standing.UNVERIFIED,
    f"there was no room to try it within {PATIENCE:.0f} s; the next request loads it",
)
_UNWANTED: Final = Verdict(Standing.UNVERIFIED, "spec.verify is false; the next request loads it")


def key_of(model: PreparedModel) -> str:
    """What is loaded, and how: the same for models that share it."""
    parameters = (f"{name}={value}" for name, value in model.parameters)
    return "\0".join((model.artifact.name, model.version, *model.requirements, *parameters))


@dataclass(slots=True)
class _Case:
    since: float
    verdict: Verdict
    models: set[str]


class Verification:
    """Of one server replica. Models are told apart by name, contents by `key_of`."""

    def __init__(self, proven: Proven) -> None:
        self._proven = proven
        self._cases: dict[str, _Case] = {}
        self._content_of: dict[str, str] = {}

    def register(self, model: PreparedModel, now: float) -> None:
        """This is the newest content of the model."""
        key = key_of(model)
        if self._content_of.get(model.name) != key:
            self.forget(model.name)
        self._content_of[model.name] = key
        known = self._proven.is_verified(key)
        fresh = _Case(now, _VERIFIED if known else _PENDING, set())
        self._cases.setdefault(key, fresh).models.add(model.name)

    def forget(self, model: str) -> None:
        """It left, or has another content."""
        key = self._content_of.pop(model, None)
        if key is not None:
            case = self._cases[key]
            case.models.discard(model)
            if not case.models:
                del self._cases[key]

    def of(self, model: str, *, wanted: bool = True) -> Verdict:
        """Of a model's newest content. ``wanted``: its spec asks for it to be tried."""
        key = self._content_of.get(model)
        if key is None:
            return _PENDING
        verdict = self._cases[key].verdict
        return verdict if wanted or verdict.standing is Standing.VERIFIED else _UNWANTED

    def loaded(self, model: PreparedModel) -> Collection[str]:
        """The content was loaded, here or in a trial. The models of which that is news."""
        key = key_of(model)
        self._proven.verified(key)
        return self._judge(key, _VERIFIED)

    def raised(self, model: PreparedModel, reason: str) -> Collection[str]:
        """A trial of it raised."""
        return self._judge(
            key_of(model), Verdict(Standing.FAILED, f"a trial load failed: {reason}")
        )

    def died(self, model: PreparedModel, reason: str) -> Collection[str]:
        """A trial of it ended its process, or was ended."""
        told = f"the process of its trial load died: {reason}; the next request loads it"
        return self._judge(key_of(model), Verdict(Standing.UNVERIFIED, told))

    def hindered(self, model: PreparedModel, reason: str) -> Collection[str]:
        """A trial of it failed for a reason that does not lie in the content, and may be gone by the next load."""
        told = f"a trial load failed, perhaps only for now: {reason}; the next request loads it"
        return self._judge(key_of(model), Verdict(Standing.UNVERIFIED, told))

    def end_waits(self, now: float, under_way: Collection[str]) -> list[str]:
        """Who waited too long to be tried is available from now on. ``under_way``: names of artifacts that are just
        being loaded somewhere, for which the answer is worth waiting for. The models of which that is news.
        """
        late = [
            case
            for key, case in self._cases.items()
            if case.verdict is _PENDING
            and now >= case.since + PATIENCE
            and key.partition("\0")[0] not in under_way
        ]
        for case in late:
            case.verdict = _LATE
        return [model for case in late for model in case.models]

    def _judge(self, key: str, verdict: Verdict) -> Collection[str]:
        case = self._cases.get(key)
        if case is None or case.verdict == verdict:
            return ()
        if case.verdict is _VERIFIED:
            return ()  # it was loaded here once; a trial that goes wrong now says nothing against that
        case.verdict = verdict
        return tuple(case.models)
