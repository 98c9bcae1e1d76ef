"""What a call to Overbook may end with, grouped by what the caller does next. No transport here."""

from __future__ import annotations


class ClientError(Exception):
    """A call that did not succeed; the text is one line for people."""


class NotRunning(ClientError):
    """Nobody answers at the address: start Overbook, or correct the address."""

    def __init__(self, url: str, setting: str) -> None:
        self.url = url
        super().__init__(
            f"no Overbook answers at {url}; start one with `overbook up`, or name another with {setting}"
        )


class NotFound(ClientError):
    """There is no such model or server: correct the name."""


class Refused(ClientError):
    """Overbook answered and said no; the text is its reason. `status` is HTTP's, 0 when there is none."""

    def __init__(self, message: str, status: int = 0) -> None:
        self.status = status
        super().__init__(message)


class TimedOut(ClientError):
    """No answer within the time allowed: the call may or may not have had its effect."""


class TlsFailed(ClientError):
    """Nothing was said, as both sides do not agree on TLS or certificates: set what the text names."""


class BadUrl(ValueError):
    """The address itself cannot be used: wrong usage, nothing was called."""


class BadToken(BadUrl):
    """The token to show cannot be one: wrong usage, nothing was called."""


class BadTrust(BadUrl):
    """What is to be trusted, or shown, over TLS cannot be used: wrong usage, nothing was called."""


class BadTensor(ValueError):
    """The request is not one of the Open Inference Protocol, or has no form in gRPC."""
