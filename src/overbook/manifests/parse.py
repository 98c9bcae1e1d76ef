"""Texts of manifests to checked documents, every problem with the file and line of its field.

Reading files is the caller's job, as is making a relative storageUri absolute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from overbook.manifests.kinds import ONLY, of_others
from overbook.manifests.located import Allowance, Node, Unreadable, read_documents
from overbook.manifests.problems import ManifestError, Problem
from overbook.manifests.specs import Manifest
from overbook.manifests.validate import validate_object

# 10,000 models are about 3 MB; the text is refused before a parser sees it.
MAX_TEXT: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """One text and what to call it in messages: a file's path as the user gave it, or `<stdin>`."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A checked manifest, where it stands, and what its author should know about it."""

    manifest: Manifest
    source: str
    node: Node = field(repr=False)
    warnings: tuple[Problem, ...] = ()

    @property
    def line(self) -> int:
        """Of its name."""
        return self.node.line_of(("metadata", "name"))


@dataclass(frozen=True, slots=True)
class _Skipped:
    """A document of somebody else's, and what to say of it."""

    warning: Problem


@dataclass(frozen=True, slots=True)
class Parsed:
    """All manifests of one input, in order. ``skipped``: a warning for each document that is of no kind of ours."""

    documents: tuple[Document, ...]
    skipped: tuple[Problem, ...] = ()


def parse_sources(sources: Iterable[Source], *, allow_relative: bool = True) -> Parsed:
    """Reads one input. Raises ManifestError with every problem of every source.

    Two objects of one kind and name are an error, wherever in the input they are.
    """
    documents: list[Document] = []
    skipped: list[Problem] = []
    problems: list[Problem] = []
    first: dict[tuple[str, str], Document] = {}
    for source in sources:
        items = list(_read(source, allow_relative=allow_relative))
        wrong = [item for item in items if isinstance(item, Problem)]
        for item in items:
            if isinstance(item, Problem):
                continue
            if isinstance(item, _Skipped):
                skipped.append(item.warning)
                continue
            key = (item.manifest.kind, item.manifest.name)
            earlier = first.setdefault(key, item)
            if earlier is not item:
                message = (
                    f"{key[0]} {key[1]!r} appears twice, first at {earlier.source}:{earlier.line}; "
                    "expected each name once"
                )
                wrong.append(Problem(message, ("metadata", "name"), item.source, item.line))
            documents.append(item)
        problems.extend(sorted(wrong, key=lambda problem: problem.line or 0))
    if problems:
        raise ManifestError(problems)
    return Parsed(tuple(documents), tuple(skipped))


def _read(source: Source, *, allow_relative: bool) -> Iterator[Document | _Skipped | Problem]:
    if len(source.text) > MAX_TEXT:
        message = f"{len(source.text)} characters; expected at most {MAX_TEXT}: split the file"
        yield Problem(message, source=source.name)
        return
    allowance = Allowance(source.text)
    for item in read_documents(source.text, source.name, allowance):
        if isinstance(item, Problem):
            yield item
            continue
        for node in _objects(item):
            yield from _check(node, source.name, allowance, allow_relative=allow_relative)


def _objects(node: Node) -> Iterator[Node]:
    """The manifests in a document: itself, the items of a list, or those of a Kubernetes List."""
    if isinstance(node.value, list):
        yield from node.value
        return
    if isinstance(node.value, dict) and "kind" in node.value and "items" in node.value:
        kind, items = node.value["kind"][1].value, node.value["items"][1].value
        if isinstance(kind, str) and kind.endswith("List") and isinstance(items, list):
            yield from items
            return
    yield node


def _check(
    node: Node, source: str, allowance: Allowance, *, allow_relative: bool
) -> Iterator[Document | _Skipped | Problem]:
    try:
        plain = node.plain(allowance)
        if (what := of_others(plain)) is not None:
            yield _Skipped(_placed(Problem(f"{what} is skipped; {ONLY}"), node, source))
            return
        validated = validate_object(plain, allow_relative=allow_relative)
    except Unreadable as error:
        yield Problem(str(error), (), source, error.line)
    except ManifestError as error:
        yield from (_placed(problem, node, source) for problem in error.problems)
    else:
        warnings = tuple(_placed(problem, node, source) for problem in validated.warnings)
        yield Document(validated.manifest, source, node, warnings)


def _placed(problem: Problem, node: Node, source: str) -> Problem:
    return replace(problem, source=source, line=node.line_of(problem.path))
