"""What rclone said, put into one good line: what is wrong, with which part, and what to do about it. Pure.

The texts are those of rclone and of the libraries in it, which pass on what servers say. No value of a secret gets
into a line of ours: what they are looked for in is quoted only in parts that servers and addresses have named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.rclone.hosts import NOWHERE
from overbook.artifacts.sources.rclone.program import End, Outcome
from overbook.artifacts.sources.rclone.remotes import Remote
from overbook.artifacts.versions import not_among
from overbook.manifests.problems import shown

_QUOTED: Final = 200
# Parameters whose values may be read by everybody.
_OPEN: Final = frozenset(
    {
        *("type", "provider", "endpoint", "region", "location", "env_auth", "anonymous"),
        *("host", "port", "user", "shell_type", "disable_hashcheck", "ask_password"),
        *("key_file", "known_hosts_file", "service_account_file"),
    }
)
_QUERY: Final = re.compile(r"\?[^\s\"']+")
# What rclone was doing, which whoever reads the line knows.
_BEFORE_CAUSE: Final = re.compile(
    r"^Failed to \w+( with \d+ errors)?: (last error was: )?(error in \w+: )?"
)
_SKEWED: Final = re.compile(r"RequestTimeTooSkewed|clock.{0,20}skew")


@dataclass(frozen=True, slots=True)
class _Rule:
    """``said``: in any line of the log. ``line``: with `{who}` for whose identity it was, and groups of ``said``."""

    said: re.Pattern[str]
    trouble: Trouble
    line: str


def _rule(said: str, trouble: Trouble, line: str) -> _Rule:
    return _Rule(re.compile(said), trouble, line)


_ALLOWED: Final = (
    "{who} may not read it (the server says: {said}); expected the right to list and to read there"
)
_REGION: Final = "its bucket is in region {region}; expected that as region of {who}"
# The first that fits is taken: what is surer stands above.
_RULES: Final = (
    _rule(
        r"^fatal error: .*(?:out of memory|cannot allocate memory)",
        Trouble.REFUSED,
        "rclone needs more memory for what the server sends than it may have; expected a folder with one model, and a "
        "server that sends no endless answers",
    ),
    # Parameters, before anybody was asked.
    _rule(
        r'couldn\'t parse config item \\?"(?P<key>\w+)\\?" = .* as (?P<kind>\w+)',
        Trouble.BAD_SECRET,
        "{who}: {key} is no {kind}; expected one",
    ),
    _rule(
        r"(?P<key>access_key_id|secret_access_key) not found",
        Trouble.BAD_SECRET,
        "{who}: {key} is missing; expected it beside the other key",
    ),
    _rule(
        r"when revealing password - is it obscured",
        Trouble.BAD_SECRET,
        "{who}: pass is not as rclone has passwords; expected what `rclone obscure` makes of it",
    ),
    _rule(
        r"Custom endpoint .* was not a valid URI",
        Trouble.BAD_SECRET,
        "{who}: endpoint is no address of a server; expected one such as https://HOST:PORT",
    ),
    _rule(
        r"failed to read private key file: open (?P<file>[^:]+): (?P<said>.+)",
        Trouble.BAD_SECRET,
        "{who}: key_file {file} cannot be read ({said}); expected a private key",
    ),
    _rule(
        r"failed to parse private key",
        Trouble.BAD_SECRET,
        "{who}: its private key cannot be read as one; expected a key that needs no passphrase, or key_file_pass",
    ),
    _rule(
        r"couldn't parse known_hosts_file: open (?P<file>[^:]+): (?P<said>.+)",
        Trouble.NOT_TRUSTED,
        "no host is known, as {file} cannot be read ({said}); expected the server's line in it",
    ),
    _rule(
        r"error opening service account credentials file: open (?P<file>[^:]+): (?P<said>.+)",
        Trouble.BAD_SECRET,
        "{who}: service_account_file {file} cannot be read ({said}); expected a key of a service account",
    ),
    _rule(
        r"failed configuring Google Cloud Storage Service Account",
        Trouble.BAD_SECRET,
        "{who}: service_account_credentials is no key of a service account; expected the JSON of one",
    ),
    _rule(
        r"could not find default credentials|empty token found",
        Trouble.BAD_SECRET,
        "{who} has nothing to come in by; expected service_account_credentials, or anonymous: true",
    ),
    _rule(
        r"decode account key",
        Trouble.BAD_SECRET,
        "{who}: key is no account key; expected the base64 text that Azure shows",
    ),
    _rule(
        r"no authentication method configured",
        Trouble.BAD_SECRET,
        "{who} has nothing to come in by; expected account and key, sas_url, or env_auth: true",
    ),
    _rule(
        r"failed to refresh cached credentials|NoCredentialProviders",
        Trouble.NOT_ALLOWED,
        "{who} is nobody: no credentials are in the environment, in ~/.aws, or given by this machine; expected some",
    ),
    _rule(
        r'didn\'t find backend called \\?"(?P<kind>[^"\\]*)',
        Trouble.BAD_SECRET,
        "{who}: rclone has no type {kind}; expected one such as s3",
    ),
    # Where the store sends us.
    _rule(
        r'(?:Get|Head|Post) \\?"(?P<where>https?://[^/"\\]+).*dial tcp ' + re.escape(NOWHERE),
        Trouble.REFUSED,
        "the server leads to {where}, which is no host of its own and is not asked; expected an endpoint that answers "
        "itself",
    ),
    # Who we are.
    _rule(
        r"InvalidAccessKeyId",
        Trouble.BAD_SECRET,
        "{who}: access_key_id is not known to the server",
    ),
    _rule(
        r"SignatureDoesNotMatch",
        Trouble.BAD_SECRET,
        "{who}: secret_access_key does not belong to access_key_id",
    ),
    _rule(
        r"ExpiredToken|TokenRefreshRequired|token has expired",
        Trouble.BAD_SECRET,
        "{who}: session_token has expired; expected a new one",
    ),
    _rule(
        r"api error InvalidToken",
        Trouble.BAD_SECRET,
        "{who}: session_token is no token that the server knows",
    ),
    _rule(
        r"AuthenticationFailed|Server failed to authenticate the request",
        Trouble.BAD_SECRET,
        "{who}: key (or sas_url) is not the account's, or has expired",
    ),
    _rule(
        r"invalid_grant|invalid_client|oauth2: cannot fetch token",
        Trouble.BAD_SECRET,
        "{who}: the server gives no token for it; expected a key that is valid now",
    ),
    _rule(
        r"ssh: unable to authenticate",
        Trouble.BAD_SECRET,
        "{who}: neither its pass nor its key lets user {user} in",
    ),
    _rule(
        r"couldn't connect to ssh-agent",
        Trouble.BAD_SECRET,
        "{who} has nothing to come in by; expected key_pem or pass",
    ),
    _rule(
        r"knownhosts: key mismatch|sftp: host key mismatch|no key is pinned for",
        Trouble.NOT_TRUSTED,
        "the server has another host key than {who} expects; expected the key in host_keys or known_hosts",
    ),
    _rule(
        r"knownhosts: key is unknown",
        Trouble.NOT_TRUSTED,
        "the server's host key is not known; expected a line for it in ~/.ssh/known_hosts, or its host_keys",
    ),
    _rule(
        _SKEWED.pattern,
        Trouble.NOT_ALLOWED,
        "this machine's clock is off{by}; expected the right time, as by NTP",
    ),
    # Where the bucket is.
    _rule(r'can\'t set region to \\?"(?P<region>[\w-]+)', Trouble.BAD_SECRET, _REGION),
    _rule(
        r"AuthorizationHeaderMalformed: .*expecting '(?P<region>[\w-]+)'",
        Trouble.BAD_SECRET,
        _REGION,
    ),
    _rule(
        r"PermanentRedirect|StatusCode: 301|AuthorizationHeaderMalformed|IllegalLocationConstraint",
        Trouble.BAD_SECRET,
        "its bucket is in another region; expected the right region (and endpoint) of {who}",
    ),
    _rule(
        r"x509: (?P<said>[^\"\n]+)",
        Trouble.NOT_TRUSTED,
        "the server's certificate does not verify ({said}); expected one that this machine trusts",
    ),
    # Whether it can be had now.
    _rule(
        r"SlowDown|TooManyRequests|StatusCode: (?:429|503)|Error (?:429|503)|ServerBusy|rateLimitExceeded",
        Trouble.BUSY,
        "the server asks to come later",
    ),
    _rule(
        r"NoSuchBucket|bucket does not exist|ContainerNotFound", Trouble.NOT_FOUND, "{no_bucket}"
    ),
    _rule(
        r"api error (?P<said>AccessDenied|AllAccessDisabled|AccountProblem|Forbidden)",
        Trouble.NOT_ALLOWED,
        _ALLOWED,
    ),
    _rule(
        r"(?P<said>AuthorizationFailure|AuthorizationPermissionMismatch|PublicAccessNotPermitted|NoAuthenticationInformation)",
        Trouble.NOT_ALLOWED,
        _ALLOWED,
    ),
    _rule(r"Error (?P<said>401|403)\b", Trouble.NOT_ALLOWED, _ALLOWED),
    _rule(r"StatusCode: (?P<said>401|403)\b", Trouble.NOT_ALLOWED, _ALLOWED),
    _rule(r"(?P<said>permission denied)", Trouble.NOT_ALLOWED, _ALLOWED),
    _rule(
        r"server gave HTTP response to HTTPS client",
        Trouble.BAD_SECRET,
        "{who}: the server of its endpoint speaks no TLS; expected http:// there",
    ),
    _rule(
        r"lookup (?P<host>[^\s:]+).*: (?:no such host|server misbehaving|.*name resolution)",
        Trouble.UNREACHABLE,
        "no machine {host} is known; expected the name of a server, and a working name service",
    ),
    _rule(
        r"dial tcp (?P<host>[^\s\"]+): .*?"
        r"(?P<said>connection refused|no route to host|network is unreachable|i/o timeout)",
        Trouble.UNREACHABLE,
        "nothing answers at {host} ({said})",
    ),
    _rule(
        r"(?P<said>i/o timeout|deadline exceeded|Client\.Timeout|connection reset by peer|broken pipe|unexpected EOF"
        r"|connection lost|use of closed network connection|\bEOF\b)",
        Trouble.UNREACHABLE,
        "the connection to the server broke ({said})",
    ),
    _rule(r"no space left on device", Trouble.NO_SPACE, "the disk is full"),
    _rule(
        r"StatusCode: (?P<said>5\d\d)|Error (?P<said2>5\d\d)",
        Trouble.UNREACHABLE,
        "the server failed (status {said})",
    ),
    _rule(r"object not found|NoSuchKey|StatusCode: 404", Trouble.NOT_FOUND, "{no_object}"),
    _rule(r"directory not found|file does not exist", Trouble.NOT_FOUND, "{no_place}"),
)


def explained(remote: Remote, outcome: Outcome, *, clock_off_s: float | None = None) -> SourceError:
    """``clock_off_s``: seconds by which the server's clock is ahead of ours, where it was asked."""
    if outcome.end is End.STALLED:
        return _error(remote, Trouble.UNREACHABLE, "the server says nothing more")
    texts = _texts(outcome.said)
    for rule in _RULES:
        for text in texts:
            if found := rule.said.search(text):
                words = {
                    key: _hidden(remote, value) for key, value in found.groupdict().items() if value
                }
                if "said2" in words:
                    words["said"] = words["said2"]
                line = rule.line.format_map(_Words(remote, words, clock_off_s))
                return _error(remote, rule.trouble, line)
    said = _without_secrets(remote, texts[-1]) if texts else f"exit code {outcome.code}"
    return _error(
        remote, Trouble.UNREACHABLE, f"rclone could not read it with {remote.who}: {said}"
    )


def skewed(outcome: Outcome) -> bool:
    """Whether the server found our clock wrong."""
    return any(_SKEWED.search(text) for text in _texts(outcome.said))


def nothing_there(remote: Remote) -> SourceError:
    """The store was asked, and has no file at the address, nor below it."""
    words = _Words(remote, {}, None)
    return _error(remote, Trouble.NOT_FOUND, words["no_object"])


def no_version(remote: Remote, version: str, folders: Iterable[str]) -> SourceError:
    """``folders``: those at the top."""
    return _error(remote, Trouble.NOT_FOUND, not_among(version, folders))


def too_many(remote: Remote, most: int) -> SourceError:
    return _error(
        remote,
        Trouble.REFUSED,
        f"there are more than {most} files; expected a folder with one model",
    )


class _Words(dict[str, str]):
    def __init__(self, remote: Remote, found: dict[str, str], clock_off_s: float | None) -> None:
        first, _, rest = remote.path.partition("/")
        by = "" if clock_off_s is None else f" by {abs(clock_off_s):.0f} s"
        if clock_off_s is not None:
            by += " (it is behind)" if clock_off_s > 0 else " (it is ahead)"
        no_bucket = f"there is no bucket {shown(first)}; expected one that {remote.who} can see"
        no_object = (
            f"bucket {shown(first)} is there, but has nothing at {shown(rest)}; "
            "expected an object, or a folder with some"
            if remote.buckets
            else f"there is no file at {shown(remote.path)}; expected a file, or a folder with some"
        )
        if remote.buckets and not rest:
            no_object = f"bucket {shown(first)} is empty; expected a model's files"
        super().__init__(
            found,
            who=remote.who,
            user=shown(remote.parameters.get("user", "")),
            by=by,
            no_bucket=no_bucket,
            no_object=no_object,
            no_place=no_bucket if remote.buckets else no_object,
        )


def _texts(said: Iterable[str]) -> list[str]:
    """Each line's message; of one that is not in JSON, all of it."""
    texts = []
    for line in said:
        try:
            told = json.loads(line)
            text = str(told["msg"])
        except (ValueError, KeyError, TypeError):
            text = line
        if text.strip():
            texts.append(text.strip())
    return texts


def _hidden(remote: Remote, text: str) -> str:
    for section in remote.sections:
        for key, value in section.parameters:
            if key not in _OPEN and len(value) > 2:
                text = text.replace(value, "…")
    return text


def _without_secrets(remote: Remote, text: str) -> str:
    said = " ".join(_QUERY.sub("?…", _hidden(remote, text)).split())
    # The cause stands at the end, and has to be read: longer than values in other messages.
    return repr(_BEFORE_CAUSE.sub("", said)[:_QUOTED])


def _error(remote: Remote, trouble: Trouble, line: str) -> SourceError:
    if trouble is Trouble.BAD_SECRET and remote.own_identity:
        trouble = Trouble.NOT_ALLOWED
    return SourceError(trouble, f"{shown(remote.uri)}: {' '.join(line.split())}")
