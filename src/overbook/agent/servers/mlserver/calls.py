"""Reads which models' code our MLServer is in, or was in when it ended, from the memory in which it keeps that. Pure.

What is written there, and how, is told where it is written: ``calls`` in the MLServer plugin.
"""

from __future__ import annotations

from typing import Final

from overbook.agent.deaths import Activity, Call, CallKind, Calls

# Of that memory.
BYTES: Final = 257 * 256
_MAGIC: Final = b"overbook calls 1"
_PLACE_BYTES: Final = 256
_ENDING_AT: Final = 32
_BEAT_AT: Final = 33
_KINDS: Final = {1: CallKind.LOAD, 2: CallKind.REQUEST, 3: CallKind.UNLOAD}
_ACTIVITIES: Final = {1: Activity.WAITING, 2: Activity.ON_LOOP, 3: Activity.IN_THREAD}


def read(content: bytes) -> Calls | None:
    """None when nothing is known: nothing was written yet, or nothing that is understood."""
    if not content.startswith(_MAGIC):
        return None
    places = range(_PLACE_BYTES, len(content), _PLACE_BYTES)
    found = (_call(content[at : at + _PLACE_BYTES]) for at in places if content[at])
    begun = tuple(call for call in found if call is not None)
    return Calls(begun, bool(content[_ENDING_AT]), content[_BEAT_AT])


def _call(place: bytes) -> Call | None:
    activity, kind = _ACTIVITIES.get(place[0]), _KINDS.get(place[1])
    if activity is None or kind is None:
        return None
    return Call(place[3 : 3 + place[2]].decode("utf-8", "replace"), kind, activity)
