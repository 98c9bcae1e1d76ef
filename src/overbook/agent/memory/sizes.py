"""What is known of the sizes of contents on this replica: evidence by digest, what to charge, and what changed.

Keeps no models and no ledger: `assignments` asks for sizes, `meter` adds evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from overbook.agent.guesses import Expectation, Experience, Guess
from overbook.agent.kinds import FILES, ArtifactKind
from overbook.agent.memory.estimates import (
    Evidence,
    charged_size,
    measured_size,
    percentile,
    reserved_size,
)
from overbook.agent.servers.protocol import Weight

# A size that is known a little better is no news; bytes.
_SAME_SIZE: Final = 64 << 10


_UNKNOWN: Final = ArtifactKind(FILES, 0)


class Store(Protocol):
    def load(self) -> dict[str, Evidence]: ...

    def save(self, changed: dict[str, Evidence]) -> None: ...

    def forget(self, digest: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Measurable:
    """What is loaded: files by digest, what kind they are of, and the requirements, which tell who serves it."""

    digest: str
    kind: ArtifactKind
    requirement: str = ""


class Sizes:
    """``on_change`` is told the digest whenever what to charge for it may have changed."""

    def __init__(self, store: Store, guess: Guess, on_change: Callable[[str], None]) -> None:
        self._store = store
        self._guess = guess
        self._known: dict[str, Evidence] = store.load()
        self._unsaved: dict[str, Evidence] = {}
        self._experience = Experience()
        self._told: dict[str, tuple[int, ...]] = {}
        for digest, evidence in self._known.items():
            self._learn(digest, evidence)
        self._contents: dict[str, Measurable] = {}
        self._on_change = on_change

    def introduce(self, content: Measurable) -> None:
        """This content is assigned here: `content` finds it by its digest."""
        self._contents[content.digest] = content

    def content(self, digest: str) -> Measurable:
        return self._contents.get(digest) or Measurable(digest, _UNKNOWN)

    def keep_only(self, digests: set[str]) -> None:
        """The contents of models that left are forgotten, what was measured of them is not."""
        for digest in self._contents.keys() - digests:
            del self._contents[digest]
            self._told.pop(digest, None)

    def forget(self, digest: str) -> None:
        """The last model with this content was deleted: should it come again, it is measured anew."""
        self._known.pop(digest, None)
        self._unsaved.pop(digest, None)
        self._told.pop(digest, None)
        self._experience.forget(digest)
        self._store.forget(digest)

    def evidence(self, digest: str) -> Evidence | None:
        return self._known.get(digest)

    def weighed(self, content: Measurable, weight: Weight) -> None:
        """It was loaded in a fresh process."""
        self._keep(content, replace(self._of(content), weight=weight))

    def measured(self, content: Measurable, declared: int | None) -> int | None:
        """Bytes by measurement, None until there is one."""
        evidence = self._known.get(content.digest)
        if evidence is None:
            return None
        believed = self.guess(content) if declared is None else declared
        return measured_size(evidence, believed)

    def charge(self, content: Measurable, declared: int | None) -> int:
        """Bytes to charge for it in the ledger."""
        evidence = self._known.get(content.digest)
        guess = 0 if declared is not None else self.guess(content)
        return charged_size(evidence, declared, guess)

    def reserve(self, content: Measurable, declared: int | None) -> int:
        """Bytes to charge for a load of it until it ended, when they should be more than `charge`; else 0."""
        cautious = self._expect(content).cautious
        return reserved_size(self._known.get(content.digest), declared, cautious)

    def peak(self, content: Measurable) -> int:
        """Bytes that a load of it takes, or may take, for a moment. Of a model in a process of its own: 0."""
        evidence = self._known.get(content.digest)
        if evidence is None or not evidence.measured:
            return self._expect(content).loading
        return 0 if evidence.weight is None else evidence.weight.peak

    def guess(self, content: Measurable) -> int:
        """Bytes without any measurement of this content, by what others of its kind became in memory."""
        return self._expect(content).likely

    def _expect(self, content: Measurable) -> Expectation:
        process = self._guess.process(content.requirement.split())
        return self._experience.expect(content.kind, process=process)

    def took(self, content: Measurable, bytes_: int) -> None:
        """A load of it, seen alone."""
        before = self._of(content)
        self._keep(content, before.with_load(bytes_))

    def took_more(self, content: Measurable, bytes_: int) -> None:
        """The same load, after its first inference."""
        self._keep(content, self._of(content).with_more(bytes_))

    def gave(self, content: Measurable, bytes_: int) -> None:
        """An unload of it, seen alone."""
        if content.digest in self._known:
            self._keep(content, self._of(content).with_return(bytes_))

    def grew(self, content: Measurable, bytes_: int) -> None:
        """After its first requests it held so many more than after its load."""
        evidence = self._known.get(content.digest)
        if evidence is not None and evidence.measured:
            self._keep(content, evidence.with_growth(bytes_))

    def peaked(self, content: Measurable, over: int) -> None:
        """What inference took on top of the model, for a moment."""
        if content.digest in self._known:
            self._keep(content, self._of(content).with_peak(over), told=False)

    def _of(self, content: Measurable) -> Evidence:
        known = self._known.pop(content.digest, None)  # the newest stands last
        return known or Evidence(content.kind, requirement=content.requirement)

    def _keep(self, content: Measurable, evidence: Evidence, *, told: bool = True) -> None:
        self._known[content.digest] = self._unsaved[content.digest] = evidence
        self._learn(content.digest, evidence)
        if told and self._is_news(content.digest, evidence):
            self._on_change(content.digest)

    def _is_news(self, digest: str, evidence: Evidence) -> bool:
        """Thousands of models may share these files: they are not told of every page."""
        now = tuple(
            percentile(each) for each in (evidence.loads, evidence.returns, evidence.uses) if each
        )
        if evidence.weight is not None:
            now += (evidence.weight.kept, evidence.weight.peak)
        before = self._told.get(digest, ())
        if len(now) == len(before) and all(
            abs(one - other) <= _SAME_SIZE for one, other in zip(now, before, strict=True)
        ):
            return False
        self._told[digest] = now
        return True

    def _learn(self, digest: str, evidence: Evidence) -> None:
        if evidence.measured:
            weight, words = evidence.weight, evidence.requirement.split()
            self._experience.note(
                digest,
                evidence.kind,
                evidence.taken,
                loading=None if weight is None else weight.peak,
                process=self._guess.process(words),
            )

    def save(self) -> None:
        """Write what was learned since the last time."""
        if self._unsaved:
            unsaved, self._unsaved = self._unsaved, {}
            self._store.save(unsaved)
