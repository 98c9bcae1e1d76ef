"""How a call of Activate ended, as an enumeration that `match` can exhaust; the message has a bare number.

What each part makes of an outcome is its own: the agent's table is in `agent.service`, the gateway's in
`gateway.verdicts`. Both fail to type-check when an outcome is added here and not there.
"""

from __future__ import annotations

from enum import Enum

from overbook.wire.agent_pb2 import ActivateReply


class Outcome(Enum):
    """The numbers are the protocol's."""

    RESIDENT = ActivateReply.RESIDENT
    NOT_ASSIGNED = ActivateReply.NOT_ASSIGNED
    LOAD_FAILED = ActivateReply.LOAD_FAILED
    OVERLOADED = ActivateReply.OVERLOADED
    DEADLINE = ActivateReply.DEADLINE
    UNAVAILABLE = ActivateReply.UNAVAILABLE
    NO_ROOM = ActivateReply.NO_ROOM


def outcome_of(reply: ActivateReply) -> Outcome:
    """One that this version does not know, from a newer agent, may be another next time."""
    try:
        return Outcome(reply.outcome)
    except ValueError:
        return Outcome.UNAVAILABLE
