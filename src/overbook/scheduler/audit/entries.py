"""Lines of the audit log: an entry for each object that a call was about. No I/O.

Every text is short, of printable characters, and without anything that looks like one of our tokens, whoever wrote it
into a path.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from overbook.access.minting import PREFIX
from overbook.manifests.plain_text import plain_text
from overbook.scheduler.audit.calls import Call, Change, asked_for

Entry: TypeAlias = dict[str, str | int | None]
Outcome: TypeAlias = Literal[
    "done", "created", "configured", "failed", "skipped", "refused", "unanswered"
]

LOCAL: Final = "local"
_LONGEST: Final = 300
_LONGEST_CALL: Final = 620
# Whom the API does not let in, or not for that.
_REFUSED: Final = frozenset({401, 403, 421})
_TOKEN: Final = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9_-]{20,}")
_SEQ: Final = re.compile(rb'\{"seq": ?(\d{1,18})[,}]')


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. ``number``: the same in all entries of one. ``call``: method and path, ``client``: an address."""

    number: str
    time: str
    method: str
    path: str
    call: str
    client: str | None


def entries(asked: Asked, call: Call, status: int | None) -> list[Entry]:
    """``status``: None where nobody could be answered any more."""
    verb, named = asked_for(asked.method, asked.path)
    made: Entry = {
        "time": asked.time,
        "request": asked.number,
        "who": call.who,
        "token": call.token,
        "role": call.role,
        "address": origin(asked.client),
        "call": clean(asked.call, _LONGEST_CALL),
        "verb": verb,
        "status": status,
        "unchanged": call.unchanged,
    }
    changes = call.changes or ([named] if not call.unchanged else [])
    if not changes:
        # Somebody applied what was so already: that too was asked for.
        changes = [named]
    return [made | _of(each, status) for each in changes]


def _of(change: Change, status: int | None) -> Entry:
    return {
        "kind": clean(change.kind),
        "name": clean(change.name),
        "before": change.before,
        "after": change.after,
        "outcome": _outcome(change, status),
    }


def _outcome(change: Change, status: int | None) -> str:
    if change.outcome:
        return change.outcome
    if status is None:
        return "unanswered"
    if status in _REFUSED:
        return "refused"
    return "done" if status < 300 else "failed"


def is_refusal(entry: Entry) -> bool:
    """Whether somebody was not let in: strangers can cause as many of these as they like."""
    return entry["outcome"] == "refused"


def origin(client: str | None) -> str:
    """Where a request came from: an address, or `LOCAL`."""
    if not client:
        return LOCAL
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return clean(client)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return LOCAL if (mapped or address).is_loopback else str(mapped or address)


def clean(text: str, most: int = _LONGEST) -> str:
    """Short, in one line, nothing that a terminal obeys, and no token."""
    plain = plain_text(_TOKEN.sub(f"{PREFIX}…", text)).replace("\n", " ").replace("\t", " ")
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"


def written(entry: Mapping[str, str | int | None], seq: int, lost: int) -> bytes:
    """A line. ``lost``: entries before it that could not be written."""
    return json.dumps({"seq": seq, **entry, "lost": lost}).encode() + b"\n"


def written_name(name: str) -> bytes:
    """How a name stands in a line."""
    return json.dumps(name).encode()


def number_of(line: bytes) -> int | None:
    """A line's number; None of what is no whole line of ours."""
    found = _SEQ.match(line)
    return int(found[1]) if found is not None and line.endswith(b"}\n") else None


def read(line: bytes) -> Entry | None:
    """What a line says; None of one that a crash or somebody else has spoiled."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
