"""What callers of the scheduler must tell apart, by what they do next. Transports map these to their codes."""

from __future__ import annotations


class SchedulerError(Exception):
    """Base; the message is one line for people."""


class Invalid(SchedulerError):
    """The request itself is wrong: correct it. (HTTP 400)"""


class NotFound(SchedulerError):
    """There is no such object. (HTTP 404)"""


class Conflict(SchedulerError):
    """The object's state forbids it: change that first. (HTTP 409)"""


class Unavailable(SchedulerError):
    """Not now: an agent is away or too slow, or the disk is full. Try again. (HTTP 503)"""


class TooMany(SchedulerError):
    """So many do this already: try again when others have ended. (HTTP 429)"""


class StoreError(Unavailable):
    """The state could not be read or written; what was acknowledged before is safe."""


class PortInUse(SchedulerError):
    """An address that the scheduler was told to listen on is taken: stop the other one or choose another."""


class NoToken(SchedulerError):
    """Tokens are to be asked for, and nobody has one: make one first."""
