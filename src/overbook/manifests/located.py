"""YAML or JSON text to plain values that remember the line of every field.

Built from the parser's events with a stack of our own: PyYAML's composer recurses, and over libyaml a
text of nested brackets ends the process. Scalars follow YAML 1.2's core schema, so `2e9` is a number
and `no`, `1:30` and dates stay text. Bounds keep a small text with aliases from growing large.
Knows nothing of manifests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import yaml

from overbook.manifests.problems import Json, Path, Problem, shown

# Of one document, aliases expanded. A Seldon Server with a whole podSpec has a few hundred.
MAX_VALUES: Final = 10_000
MAX_DEPTH: Final = 64
# Of a whole text: values that aliases and merges add to those that are written there.
MAX_REPEATED: Final = 1_000_000
# No manifest needs any; libyaml looks at all that came before for each.
MAX_TAG_DIRECTIVES: Final = 100

# libyaml's parser is about eight times as fast; PyYAML may have been built without it.
_LOADER: Final = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_TOO_LARGE: Final = (
    f"too much in one document; expected at most {MAX_VALUES} values, {MAX_DEPTH} deep, "
    "aliases included"
)
_TOO_REPEATED: Final = (
    f"aliases and merges add more than {MAX_REPEATED} values to this text; expected fewer: write what they repeat "
    "in smaller parts"
)
_TAG: Final = "tag:yaml.org,2002:"
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL: Final = {
    word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")
}
_NUMBER_START: Final = frozenset("+-.0123456789")
_INT: Final = re.compile(r"[-+]?[0-9]{1,400}", re.ASCII)
# Half a pair of UTF-16: JSON can name one (`"\ud800"`), and no text that is kept or sent can hold it.
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_RADIX: Final = re.compile(r"0x[0-9a-fA-F]{1,400}|0o[0-7]{1,400}", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)

Scalar: TypeAlias = "bool | int | float | str | None"


@dataclass(slots=True)
class Node:
    """A value and its line, counted from 1. A mapping's entries keep the line of the key, too."""

    line: int
    value: Scalar | list[Node] | dict[str, tuple[int, Node]]

    def line_of(self, path: Path) -> int:
        """The line of the field at `path`, or of the nearest thing around it that is there."""
        node, line = self, self.line
        for step in path:
            if isinstance(node.value, dict) and step in node.value:
                line, node = node.value[str(step)]
            elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.line
            else:
                break
        return line

    def plain(self, allowance: Allowance) -> Json:
        """The value without lines. Raises Unreadable when aliases blow it up."""
        allowance.check(self.line)
        left = [MAX_VALUES]
        try:
            return _plain(self, left, MAX_DEPTH)
        finally:
            allowance.left -= MAX_VALUES - left[0]


class Allowance:
    """How many values may still be made of a text. There is no text that has more values than characters, so those that
    aliases and merges repeat are bounded, whatever stands beside them.
    """

    def __init__(self, text: str) -> None:
        self.left = len(text) + MAX_REPEATED

    def check(self, line: int) -> None:
        """Raises Unreadable when there is nothing left."""
        if self.left < 0:
            raise Unreadable(_TOO_REPEATED, line)


class Unreadable(ValueError):
    """The document cannot be read any further: too large, or not shaped like JSON."""

    def __init__(self, message: str, line: int) -> None:
        self.line = line
        super().__init__(message)


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been read yet."""

    node: Node
    anchor: str | None
    key: tuple[str, int] | None = None
    merged: list[Node] = field(default_factory=list)


def read_documents(text: str, source: str, allowance: Allowance) -> Iterator[Node | Problem]:
    """The non-empty documents of a text in order, and whatever is wrong with it as it is met.

    ``allowance``: of this text.
    """
    if (count := text.count("%TAG")) > MAX_TAG_DIRECTIVES:
        told = f"%TAG occurs {count} times; expected at most {MAX_TAG_DIRECTIVES}"
        yield Problem(told, (), source)
        return
    if (broken := _SURROGATE.search(text)) is not None:
        line = text.count("\n", 0, broken.start()) + 1
        told = f"not Unicode: half a character ({shown(broken[0])}); expected text in UTF-8"
        yield Problem(told, (), source, line)
        return
    builder = _Builder(source, allowance)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
            if builder.problems:
                yield from builder.problems
                builder.problems.clear()
            if builder.document is not None:
                if builder.document.value is not None:
                    yield builder.document
                builder.document = None
    except Unreadable as error:
        yield Problem(str(error), (), source, error.line)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(text for text in (error.context, error.problem) if text)
        yield Problem(
            f"not YAML: {' '.join(said.split())}", (), source, mark.line + 1 if mark else None
        )
    except yaml.YAMLError as error:
        yield Problem(f"not YAML: {' '.join(str(error).split())}", (), source)


class _Builder:
    """Events in, documents out. A document is ready when `document` is set; the caller takes it away."""

    def __init__(self, source: str, allowance: Allowance) -> None:
        self.source = source
        self._allowance = allowance
        self.problems: list[Problem] = []
        self.document: Node | None = None
        self._stack: list[_Open] = []
        self._anchors: dict[str, Node] = {}

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark is not None else 1
        match event:
            case yaml.ScalarEvent():
                self._scalar(event, line)
            case yaml.MappingStartEvent():
                self._open(Node(line, {}), event.anchor)
            case yaml.SequenceStartEvent():
                self._open(Node(line, []), event.anchor)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._close()
            case yaml.AliasEvent():
                if self._wants_key():
                    raise Unreadable("an alias cannot be a key; expected text", line)
                target = self._anchors.get(event.anchor or "")
                if target is None:
                    self._problem(f"alias {shown(event.anchor)} has no anchor before it", line)
                    target = Node(line, None)
                self._add(target)
            case yaml.DocumentStartEvent():
                self._anchors.clear()

    def _problem(self, message: str, line: int) -> None:
        self.problems.append(Problem(message, (), self.source, line))

    def _wants_key(self) -> bool:
        top = self._stack[-1] if self._stack else None
        return top is not None and isinstance(top.node.value, dict) and top.key is None

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        if self._wants_key():
            self._stack[-1].key = (event.value, line)
            return
        plain, quoted = event.implicit
        tag = event.tag
        if plain and tag is None:
            value = _resolve(event.value)
        elif quoted or tag in ("!", f"{_TAG}str"):
            value = event.value
        elif tag is not None and tag.removeprefix(_TAG) in ("null", "bool", "int", "float"):
            value = _resolve(event.value)
        else:
            self._problem(f"tag {shown(tag)} is not allowed; expected plain values", line)
            value = event.value
        node = Node(line, value)
        if event.anchor:
            self._anchors[event.anchor] = node
        self._add(node)

    def _open(self, node: Node, anchor: str | None) -> None:
        if self._wants_key():
            raise Unreadable("a list or mapping cannot be a key; expected text", node.line)
        if len(self._stack) >= MAX_DEPTH:
            raise Unreadable(_TOO_LARGE, node.line)
        self._stack.append(_Open(node, anchor))

    def _close(self) -> None:
        closed = self._stack.pop()
        entries = closed.node.value
        if isinstance(entries, dict):
            for source in closed.merged:
                if isinstance(source.value, dict):
                    self._allowance.left -= len(source.value)
                    self._allowance.check(source.line)
                    for key, entry in source.value.items():
                        entries.setdefault(key, entry)
        if closed.anchor:
            self._anchors[closed.anchor] = closed.node
        self._add(closed.node)

    def _add(self, node: Node) -> None:
        if not self._stack:
            self.document = node
            return
        parent = self._stack[-1]
        if isinstance(parent.node.value, list):
            parent.node.value.append(node)
            return
        assert parent.key is not None, "scalars are taken as keys before, anything else is refused"
        self._add_entry(parent, parent.key, node)
        parent.key = None

    def _add_entry(self, parent: _Open, key: tuple[str, int], node: Node) -> None:
        name, line = key
        entries = parent.node.value
        assert isinstance(entries, dict)
        if name == "<<":
            sources = node.value if isinstance(node.value, list) else [node]
            if not all(isinstance(source.value, dict) for source in sources):
                self._problem(
                    "<< merges mappings; expected an alias of one or a list of them", line
                )
            self._allowance.left -= len(sources)
            self._allowance.check(line)
            parent.merged.extend(sources)
        elif name in entries:
            self._problem(f"{shown(name)} appears twice, first in line {entries[name][0]}", line)
        else:
            entries[name] = (line, node)


def _resolve(text: str) -> Scalar:
    """A plain scalar under the core schema. Infinity and not-a-number stay text: no field wants them."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if text[0] in _NUMBER_START:
        if _INT.fullmatch(text):
            return int(text)
        if _RADIX.fullmatch(text):
            return int(text, 0)
        if _FLOAT.fullmatch(text) and abs(number := float(text)) != float("inf"):
            return number
    return text


def more_than(most: int, value: Json) -> bool:
    """Whether a plain value has more than ``most`` values in it, itself counted."""
    waiting, seen = [value], 0
    while waiting:
        each = waiting.pop()
        seen += 1
        if isinstance(each, (list, dict)):
            if seen + len(waiting) + len(each) > most:
                return True
            waiting.extend(each.values() if isinstance(each, dict) else each)
    return seen > most


def _plain(node: Node, budget: list[int], depth: int) -> Json:
    budget[0] -= 1
    if budget[0] < 0 or depth < 0:
        raise Unreadable(_TOO_LARGE, node.line)
    value = node.value
    if isinstance(value, dict):
        return {key: _plain(child, budget, depth - 1) for key, (_, child) in value.items()}
    if isinstance(value, list):
        return [_plain(child, budget, depth - 1) for child in value]
    return value
