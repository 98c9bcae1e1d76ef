"""docs/events.md and the program agree: every reason of an event is explained there, and nothing else is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from overbook.scheduler.records import Reason

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
# Functions by which most events are told; one of their first arguments is the reason.
TELLING: Final = {"note", "_note", "_event", "server_event"}
REASON: Final = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-z]+)+")
# Those of conditions, which become events when a model comes to have them.
OF_CONDITIONS: Final = {
    each.value for each in (Reason.AVAILABLE, Reason.FAILED, Reason.SCALED_DOWN)
}


def reasons(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Those that stand in calls which tell events, with their type; "" where that depends."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and name_of(node) in TELLING:
            for argument in node.args[:3]:
                yield from ((each, type_of(node)) for each in words(argument))
        if isinstance(node, ast.FunctionDef):
            yield from ((each, "") for each in in_records(node))


def in_records(function: ast.FunctionDef) -> Iterator[str]:
    """Those of `Note`, which stand there or in a variable of that function."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and name_of(node) == "Note":
            yield from words(node.args[0])
            for other in ast.walk(function):
                if isinstance(other, ast.Assign) and is_same(other.targets[0], node.args[0]):
                    yield from words(other.value)


def is_same(one: ast.expr, other: ast.expr) -> bool:
    return isinstance(one, ast.Name) and isinstance(other, ast.Name) and one.id == other.id


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def words(expression: ast.expr) -> Iterator[str]:
    for each in ast.walk(expression):
        if isinstance(each, ast.Constant) and REASON.fullmatch(str(each.value)):
            yield str(each.value)


def type_of(call: ast.Call) -> str:
    said = [each.value for each in call.keywords if each.arg == "warning"]
    match said:
        case []:
            return "Normal"
        case [ast.Constant(value)]:
            return "Warning" if value else "Normal"
        case _:
            return ""


def told() -> dict[str, str]:
    """Reasons on the page, with their type."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGE, re.MULTILINE)
    assert len(rows) == len(dict(rows)), "one of them is there twice"
    return dict(rows)


def test_every_reason_is_explained() -> None:
    found = dict.fromkeys(OF_CONDITIONS, "")
    for part in ("agent", "scheduler"):
        for path in (ROOT / "src" / "overbook" / part).rglob("*.py"):
            found |= dict(reasons(ast.parse(path.read_text(encoding="utf-8"))))
    assert len(found) > 40, "events are told in another way by now"
    assert set(told()) == set(found)
    typed = {reason: kind for reason, kind in found.items() if kind}
    assert {reason: told()[reason] for reason in typed} == typed
    assert set(told().values()) == {"Normal", "Warning"}


def test_a_reason_is_seen_wherever_it_stands() -> None:
    source = """
self._event("ModelHeldBack" if final else "ModelSuspected", model, "Not this", warning=True)
_note(state, where, "AgentConnected", "nor This", warning=False)
state.note("ModelPinned", name, "by request")
state.note("ModelFailed", name, "no", warning=failed)
other("NotTold")
def record():
    reason = "ServerRegistered" if new else "ServerUpdated"
    another = "NotThis"
    notes.append(Note(reason, "Server", name, "Not this"))
    notes.append(Note("ServerRemoved", "Server", name, "Not this"))
"""
    assert dict(reasons(ast.parse(source))) == {
        "AgentConnected": "Normal",
        "ModelHeldBack": "Warning",
        "ModelSuspected": "Warning",
        "ModelPinned": "Normal",
        "ModelFailed": "",
        "ServerRegistered": "",
        "ServerUpdated": "",
        "ServerRemoved": "",
    }
