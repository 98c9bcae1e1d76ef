"""Why a client gets no answer. Pure; which status says so is `methods`' for gRPC and `rest`'s for REST."""

from __future__ import annotations


class NoAnswer(Exception):
    """Base of what a client is told instead of an answer; the message is one line for people."""


class UnknownModel(NoAnswer):
    """Nobody registered it, or it has no such version: 404, NOT_FOUND."""


class BadRequest(NoAnswer):
    """The request can never succeed as it is: 400, INVALID_ARGUMENT."""


class NotAvailable(NoAnswer):
    """Registered, but it cannot be answered now; trying later may help: 503, UNAVAILABLE."""


class NotAllowed(NoAnswer):
    """Nobody may do that through the gateway: 403, PERMISSION_DENIED."""


class UnknownRegion(NoAnswer):
    """Nobody registered such a region of shared memory: 404, NOT_FOUND."""


class NoSuchCall(NoAnswer):
    """The model's server has no such call: 404, UNIMPLEMENTED."""


class TooLarge(NoAnswer):
    """It is larger than is accepted, or becomes so: 413, RESOURCE_EXHAUSTED."""
