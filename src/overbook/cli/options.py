"""Options and arguments that several commands share, and the values people type in them."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar

import click
from click.core import ParameterSource

from overbook.client.addresses import DEFAULT_API_URL, DEFAULT_URL
from overbook.client.trust import Pinned, trusting
from overbook.machine.here import Here, found
from overbook.machine.options import FETCHES, LOOPBACK, ArtifactOptions, default_state_dir
from overbook.manifests.durations import parse_seconds, parse_wait
from overbook.manifests.quantities import parse_bytes

Kind: TypeAlias = Literal["model", "server"]

# Any is click's own way to say "a function of whatever parameters".
_Function = TypeVar("_Function", bound=Callable[..., Any])

PORT: Final = click.IntRange(1, 65535)
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
# A token of HTTP: what a header may be called.
_HEADER: Final = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
_KINDS: Final[dict[str, Kind]] = {
    "model": "model",
    "models": "model",
    "server": "server",
    "servers": "server",
}


def parse_duration(text: str) -> float:
    """Seconds, from `500ms`, `60s`, `2m`, `1.5h` or a plain number of seconds."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?", text, re.ASCII)
    if match is None:
        raise click.BadParameter(
            f"{text!r} is not a duration; expected one such as 500ms, 60s or 2m"
        )
    return float(match[1]) * _UNITS[match[2] or "s"]


def parse_quantity(text: str) -> int:
    """Bytes, from a Kubernetes quantity."""
    try:
        count = parse_bytes(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if count == 0:
        raise click.BadParameter(f"{text!r} is no memory at all; expected more than 0 bytes")
    return count


def parse_limit(text: str | float) -> float:
    """Seconds, from a duration that somebody may wait."""
    try:
        return parse_wait(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def parse_grace(text: str | float) -> float:
    """Seconds, from a duration; 0 is one too."""
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def parse_kind(text: str) -> Kind:
    """`model` or `server`, singular or plural."""
    found = _KINDS.get(text.lower())
    if found is None:
        near = difflib.get_close_matches(text.lower(), _KINDS, n=1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise click.BadParameter(f"{text!r} is not known; expected models or servers.{meant}")
    return found


def api_url_option(function: _Function) -> _Function:
    """`--api-url` on the command itself; without it, that of `overbook` or the environment. And `--ca`."""
    option = click.option(
        "--api-url",
        metavar="URL",
        callback=partial(_inherited, "api_url"),
        help=f"Control API.  [env: OVERBOOK_API_URL; default: {DEFAULT_API_URL}]",
    )
    return option(ca_option(function))


def url_option(function: _Function) -> _Function:
    """`--url` on the command itself; without it, that of `overbook` or the environment. And `--ca`."""
    option = click.option(
        "--url",
        metavar="URL",
        callback=partial(_inherited, "url"),
        help=f"Data plane.  [env: OVERBOOK_URL; default: {DEFAULT_URL}]",
    )
    return option(ca_option(function))


def ca_option(function: _Function) -> _Function:
    """`--ca`: for all clients that the command makes. Once, whoever asks for it."""
    if any(each.name == "ca" for each in getattr(function, "__click_params__", ())):
        return function
    return click.option(
        "--ca",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        expose_value=False,
        callback=_trusted,
        help="Trust servers whose certificate an authority in this PEM file made.  [env: OVERBOOK_CA; default: those "
        "of this system]",
    )(function)


def _trusted(ctx: click.Context, _: click.Parameter, given: Path | None) -> None:
    if given is not None:
        ctx.with_resource(trusting(ca=given))


def header_option(function: _Function) -> _Function:
    """`-H`, as often as wanted: a header of requests to models, or metadata over gRPC."""
    return click.option(
        "-H",
        "--header",
        "headers",
        multiple=True,
        metavar="'NAME: VALUE'",
        callback=_headers,
        help="Send this header too, over gRPC as metadata; may be repeated.",
    )(function)


def _headers(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for each in given:
        name, colon, value = each.partition(":")
        if not colon or not _HEADER.fullmatch(name.strip()) or not value.isprintable():
            raise click.BadParameter(f"{each!r} is not a header; expected 'NAME: VALUE'")
        found[name.strip()] = value.strip()
    return found


def files_option(*, required: bool) -> Callable[[_Function], _Function]:
    """`-f`, as often as wanted: a file, a folder, or `-` for standard input."""
    return click.option(
        "-f",
        "--file",
        "files",
        multiple=True,
        required=required,
        metavar="FILE|DIR|-",
        help="Manifests: a file, a folder (all *.yaml, *.yml, *.json in it), or - for stdin.",
    )


def activation_timeout_option(function: _Function) -> _Function:
    """`--activation-timeout`, of whatever runs a gateway."""
    return click.option(
        "--activation-timeout",
        type=parse_limit,
        metavar="DURATION",
        default="60s",
        show_default=True,
        envvar="OVERBOOK_ACTIVATION_TIMEOUT",
        show_envvar=True,
        help="How long a request waits for its model, where the model does not say; at most 1h.",
    )(function)


def grace_option(function: _Function) -> _Function:
    """`--grace`, of whatever serves requests until it is stopped."""
    return click.option(
        "--grace",
        type=parse_grace,
        metavar="DURATION",
        default="30s",
        show_default=True,
        envvar="OVERBOOK_GRACE",
        show_envvar=True,
        help="How long a stop (SIGTERM, Ctrl-C) waits for requests that run; a second signal ends at once.",
    )(function)


def silence_limit_option(function: _Function) -> _Function:
    """`--silence-limit`, of whatever runs inference servers."""
    return click.option(
        "--silence-limit",
        type=parse_limit,
        metavar="DURATION",
        default="90s",
        show_default=True,
        envvar="OVERBOOK_SILENCE_LIMIT",
        show_envvar=True,
        help="Replace an inference server that owes answers and gives none for so long; at most 1h.",
    )(function)


def server_log_size_option(function: _Function) -> _Function:
    """`--server-log-size`, of whatever runs inference servers."""
    return click.option(
        "--server-log-size",
        type=parse_quantity,
        metavar="BYTES",
        default="10Mi",
        show_default=True,
        help="Of an inference server's log; two earlier files of that size are kept.",
    )(function)


def artifact_options(function: _Function) -> _Function:
    """`--cache-size`, `--fetch-rate`, `--fetches`, `--deny-pickle` and `--secrets`, of whatever fetches models' files;
    see `fetched_how`.
    """
    size = click.option(
        "--cache-size",
        type=parse_quantity,
        metavar="BYTES",
        envvar="OVERBOOK_CACHE_SIZE",
        show_envvar=True,
        help="How much disk models' files may take, in bytes, such as 200Gi or 5e11; those of cold models leave for "
        "others.  [default: 80% of what is free]",
    )
    rate = click.option(
        "--fetch-rate",
        type=parse_quantity,
        metavar="BYTES",
        envvar="OVERBOOK_FETCH_RATE",
        show_envvar=True,
        help="Fetch models' files at so many bytes per second at most, all together, such as 50Mi (about 420 Mbit/s).  "
        "[default: no limit]",
    )
    at_once = click.option(
        "--fetches",
        type=click.IntRange(1, 64),
        default=FETCHES,
        show_default=True,
        help="How many fetches run at the same time.",
    )
    pickles = click.option(
        "--deny-pickle",
        is_flag=True,
        help="Refuse models with pickles in them, which are code; a Server may say so for itself (denyPickle).",
    )
    secrets = click.option(
        "--secrets",
        type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
        metavar="DIR",
        envvar="OVERBOOK_SECRETS",
        show_envvar=True,
        help="A folder of secrets that models name (secretName), each a file or a mounted Kubernetes Secret.",
    )
    return size(rate(at_once(pickles(secrets(function)))))


def fetched_how(given: dict[str, Any]) -> ArtifactOptions:
    """What `artifact_options` were given; takes them out."""
    names = ("cache_size", "fetch_rate", "fetches", "deny_pickle", "secrets")
    return ArtifactOptions(**{name: given.pop(name) for name in names})


def metrics_options(function: _Function) -> _Function:
    """`--metrics-port` and `--metrics-host`, of a part that has no control API."""
    port = click.option(
        "--metrics-port",
        type=PORT,
        metavar="PORT",
        help="Serve Prometheus metrics on this port, at /metrics, over TLS with --tls-cert.  [default: not served]",
    )
    host = click.option(
        "--metrics-host", default=LOOPBACK, show_default=True, help="Address of the metrics."
    )
    return port(host(function))


def _inherited(
    name: Literal["api_url", "url"], ctx: click.Context, _: click.Parameter, given: str | None
) -> str:
    """Given here, to `overbook`, or in the environment; else where this user's Overbook answers over TLS. Wherever that
    is named, its certificate is known.
    """
    root = ctx.find_root()
    inherited: str | None = root.params.get(name)
    told = root.get_parameter_source(name) is not ParameterSource.DEFAULT
    url = given or (inherited if told else None)
    if (here := _here()) is not None:
        theirs = here.api if name == "api_url" else here.data
        if url is None or url.rstrip("/") == theirs:
            ctx.with_resource(trusting(pinned=Pinned(here.certificate, here.name)))
            return theirs
    return url or (DEFAULT_API_URL if name == "api_url" else DEFAULT_URL)


def _here() -> Here | None:
    try:
        return found(default_state_dir(os.environ, Path.home()))
    except RuntimeError:
        return None  # there is no home folder


insecure_option = click.option(
    "--insecure",
    is_flag=True,
    help="Ask nobody for a token before there is one, although others than this machine's users can connect.",
)
