"""Options of whatever serves the control API: whom it lets in."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from overbook.machine.options import ApiOptions

_Function = TypeVar("_Function", bound=Callable[..., Any])

_HOST: Final = re.compile(r"\*|(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?", re.ASCII)
_ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)


def api_options(function: _Function) -> _Function:
    """`--allowed-hosts` and `--cors-origins`; see `let_in`."""
    hosts = click.option(
        "--allowed-hosts",
        metavar="NAME,…",
        default="",
        callback=_hosts,
        envvar="OVERBOOK_ALLOWED_HOSTS",
        show_envvar=True,
        help="Names that the control API is asked by, such as overbook.example or *.example; addresses, localhost and "
        "the machine's name always do.",
    )
    origins = click.option(
        "--cors-origins",
        metavar="ORIGIN,…",
        default="",
        callback=_origins,
        envvar="OVERBOOK_CORS_ORIGINS",
        show_envvar=True,
        help="Web pages that may use the control API besides its own, such as https://console.example.  "
        "[default: none]",
    )
    return hosts(origins(function))


def let_in(given: dict[str, Any]) -> ApiOptions:
    """What `api_options` were given; takes them out."""
    return ApiOptions(given.pop("allowed_hosts"), given.pop("cors_origins"))


def _hosts(_: click.Context, __: click.Parameter, given: str) -> tuple[str, ...]:
    return _each(
        given,
        _HOST,
        "the name of a host; expected one such as overbook.example, *.example, or * for any",
    )


def _origins(_: click.Context, __: click.Parameter, given: str) -> tuple[str, ...]:
    return _each(
        given,
        _ORIGIN,
        "an origin; expected one such as https://console.example:8080, without a path",
    )


def _each(given: str, form: re.Pattern[str], what: str) -> tuple[str, ...]:
    found = tuple(each.strip().lower() for each in given.split(",") if each.strip())
    for each in found:
        if form.fullmatch(each) is None:
            raise click.BadParameter(f"{each!r} is not {what}")
    return found
