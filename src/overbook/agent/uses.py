"""What this replica does with contents at this moment, for whoever makes room on the disk. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import replace

from overbook.agent.assigned import AssignedContent, Assignment, asked_by
from overbook.artifacts.disk import Hold
from overbook.artifacts.kept import Use
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName
from overbook.residency.states import CHARGED


def uses(
    assigned: Iterable[Assignment],
    entries: Mapping[ModelName, Entry],
    *,
    loaded: Set[str],
    busy: Set[str],
    wall: Callable[[float], float],
) -> Mapping[str, Use]:
    """By digest. ``assigned``: also those that are leaving. ``loaded``: digests that the inference server reads or may
    still read; ``busy``: those that somebody else reads or will read soon; ``wall``: Unix seconds of the core's time.
    """
    found = {digest: Use(Hold.FIRM, 0.0) for digest in loaded}
    lasting: set[str] = set()  # would stay whoever left memory
    for each in assigned:
        entry = entries.get(ModelName(each.spec.name))
        used = 0.0 if entry is None else wall(entry.last_used)
        for content in each.contents:
            digest = content.artifact.digest
            firm = _holds_firmly(each, content) or _is_in_memory(entry)
            hold = Hold.FIRM if firm else _hold(each, digest, busy)
            before = found.get(digest, Use(hold, used))
            whose = frozenset({_told(each)} if firm else ())
            here = frozenset({each.spec.name} if _is_in_memory(entry) else ())
            if _holds_firmly(each, content):
                lasting.add(digest)
            found[digest] = Use(
                max(hold, before.hold),
                max(used, before.last_used),
                before.models | whose,
                before.in_memory | here,
            )
    for digest in lasting:
        found[digest] = replace(found[digest], in_memory=frozenset())
    return found


def _told(assignment: Assignment) -> str:
    return f"{assignment.spec.name} (pinned)" if assignment.spec.pinned else assignment.spec.name


def places(assigned: Iterable[Assignment]) -> set[str]:
    """From where any of these models want anything."""
    return {asked_by(each.spec).place for each in assigned}


def users(assigned: Iterable[Assignment], digest: str) -> list[str]:
    """Models that have this content."""
    return [
        each.spec.name
        for each in assigned
        if any(content.artifact.digest == digest for content in each.contents)
    ]


def _is_in_memory(entry: Entry | None) -> bool:
    return entry is not None and entry.state in CHARGED


def _holds_firmly(assignment: Assignment, content: AssignedContent) -> bool:
    """Also when it is not in memory. Of an older content nobody can say that its address still has it."""
    return assignment.spec.pinned or content is not assignment.content


def _hold(assignment: Assignment, digest: str, busy: Set[str]) -> Hold:
    # Who waits for files would wait for ever if these left before they are loaded.
    return Hold.BRIEFLY if assignment.waiting or digest in busy else Hold.NONE
