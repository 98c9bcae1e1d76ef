"""`--limit`: how much clients may take of a gateway. One option, as there are many limits, which few people change."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from overbook.machine.options import LimitOptions
from overbook.manifests.durations import parse_seconds
from overbook.manifests.quantities import parse_bytes

_Function = TypeVar("_Function", bound=Callable[..., Any])

_MIB: Final = 1024 * 1024
_MOST: Final = 1_000_000
_DAY: Final = 86_400


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 7 and 1 <= int(text) <= _MOST):
        raise ValueError(f"expected a number from 1 to {_MOST}")
    return int(text)


def _memory(text: str) -> int:
    try:
        found = parse_bytes(text)
    except ValueError:
        found = 0
    if found < 64 * _MIB:
        raise ValueError("expected bytes such as 2Gi, 64Mi at least")
    return found


def _seconds(text: str) -> int:
    try:
        found = parse_seconds(text)
    except ValueError:
        found = 0.0
    if not 1 <= found <= _DAY or found != int(found):
        raise ValueError("expected a time in whole seconds such as 30s or 10m, from 1s to 24h")
    return int(found)


# As people write them, in the order in which they are told.
_LIMITS: Final[dict[str, Callable[[str], int]]] = {
    "requests-per-second": _number,
    "waiting": _number,
    "waiting-per-model": _number,
    "connections": _number,
    "streams": _number,
    "memory": _memory,
    "head-time": _seconds,
    "request-time": _seconds,
    "idle-time": _seconds,
    "unread-time": _seconds,
}


def limit_option(function: _Function) -> _Function:
    """`--limit`; gives `limits`."""
    option = click.option(
        "--limit",
        "limits",
        multiple=True,
        metavar="NAME=VALUE",
        callback=_read,
        envvar="OVERBOOK_LIMIT",
        show_envvar=True,
        help="How much all clients together may take of the gateway, such as requests-per-second=500, waiting=1000 or "
        f"request-time=60s; may be repeated. Names: {', '.join(_LIMITS)} (docs/limits.md).",
    )
    return option(function)


def _read(_: click.Context, __: click.Parameter, given: Sequence[str]) -> LimitOptions:
    found: dict[str, int] = {}
    for each in given:
        name, is_there, text = each.partition("=")
        if name not in _LIMITS:
            close = difflib.get_close_matches(name, _LIMITS, n=1)
            guess = (
                f"; did you mean {close[0]!r}?"
                if close
                else f"; expected one of {', '.join(_LIMITS)}"
            )
            raise click.BadParameter(f"{name!r} is no limit{guess}")
        field = name.replace("-", "_")
        if field in found:
            raise click.BadParameter(f"{name!r} is there twice; expected each limit once")
        try:
            found[field] = _LIMITS[name](text)
        except ValueError as error:
            told = repr(text) if is_there else "without a value"
            raise click.BadParameter(f"{name}: {told}: {error}") from None
    return LimitOptions(**found)
