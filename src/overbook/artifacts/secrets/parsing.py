"""The text of a secret, in JSON or YAML, to one rclone remote. Pure.

Scalars stay as they are written, since `0123` and `1e3` may be passwords. Read by events, so that no depth and no alias
makes more of a text than it is. No message holds a value, nor what a parser says of the text: only names of keys.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import yaml

from overbook.artifacts.secrets.advice import meant_type
from overbook.artifacts.secrets.errors import SecretError
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.manifests.problems import field_name

# Of the whole text in UTF-8; a service account's key is about 3 kB.
MOST_BYTES: Final = 64 * 1024
# PyYAML may have been built without libyaml, which is quicker.
_LOADER: Final = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_KNOWN: Final = ("name", "type", "parameters")
_PLAIN: Final = "expected text, a number, true or false"
_EXPECTED: Final = "expected name, type and parameters"
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL: Final = {each: each.lower() for each in ("true", "True", "TRUE", "false", "False", "FALSE")}
# What rclone takes as the name of a remote, and as a kind of storage ("google cloud storage" is one).
_REMOTE: Final = re.compile(r"[\w.+@]([\w.+@ -]{0,126}[\w.+@-])?")
_TYPE: Final = re.compile(r"[a-z0-9]([a-z0-9 _-]{0,62}[a-z0-9])?", re.ASCII)
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
# A key that looks otherwise is shown to nobody: it may be a value in the wrong place.
_SHOWN: Final = re.compile(r"[A-Za-z_-]{0,40}[0-9]{0,4}[A-Za-z_-]{0,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Mapping:
    """``pairs``: as they are written, keys that appear twice included."""

    pairs: list[tuple[str, _Value]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Other:
    """Something that is no text and no mapping, in words."""

    what: str


_Value: TypeAlias = "str | _Mapping | _Other | None"


def parse_secret(secret: str, text: str) -> RemoteSecret:
    """The remote that a secret's text describes. ``secret``: what people call it. Raises SecretError."""
    told = _Told(secret)
    if len(text.encode(errors="surrogatepass")) > MOST_BYTES:
        raise told.wrong(f"has more than {MOST_BYTES} bytes; expected one rclone remote")
    read = _read(text, told)
    if not isinstance(read, _Mapping):
        what = "is empty" if read is None else "is no mapping"
        raise told.wrong(f"{what}; {_EXPECTED}, in JSON or YAML")
    given = _once(read, told, ())
    for key in given:
        if key in ("kind", "apiVersion", "stringData", "data"):
            raise told.wrong(
                f"{key}: is a key of a Kubernetes object; expected what stands under the one key of its stringData"
            )
        if key not in _KNOWN:
            close = difflib.get_close_matches(key, _KNOWN, n=1)
            meant = f"did you mean {close[0]}?" if close else _EXPECTED
            raise told.wrong(f"{_named((key,))}: is not known; {meant}")
    parameters = given.get("parameters") or _Mapping()
    if not isinstance(parameters, _Mapping):
        raise told.wrong("parameters: is no mapping; expected one of the remote's options to text")
    return RemoteSecret(
        secret=secret,
        name=_word(given, "name", _REMOTE, "letters, digits, '_', '-', '.', '+' and '@'", told),
        type=_word(given, "type", _TYPE, _type_expected(given), told),
        parameters=dict(_parameters(parameters, told)),
    )


class _Told:
    """Errors that say which secret is meant."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def wrong(self, why: str) -> SecretError:
        return SecretError(f"secret {self._secret!r}: {why}")


def _read(text: str, told: _Told) -> _Value:
    text = text.removeprefix("\ufeff")
    if text.lstrip().startswith("{"):
        try:
            return _from_json(text)
        except (ValueError, RecursionError):
            pass  # a mapping of YAML begins so, too
    try:
        return _from_yaml(yaml.parse(text, Loader=_LOADER), told)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"
        raise told.wrong(f"is neither JSON nor YAML{where}; {_EXPECTED}") from None
    except yaml.YAMLError:
        raise told.wrong(f"is neither JSON nor YAML; {_EXPECTED}") from None


def _from_json(text: str) -> _Value:
    """Raises ValueError, RecursionError."""
    decoded: object = json.loads(
        text, object_pairs_hook=_pairs, parse_int=str, parse_float=str, parse_constant=str
    )
    return _plain(decoded)


def _pairs(pairs: list[tuple[str, object]]) -> _Mapping:
    return _Mapping([(key, _plain(value)) for key, value in pairs])


def _plain(value: object) -> _Value:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, str | _Mapping):
        return value
    return _Other("a list")


def _from_yaml(events: Iterator[yaml.Event], told: _Told) -> _Value:
    """The one document that there is. Raises yaml.YAMLError, SecretError."""
    documents: list[_Value] = []
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            if documents:
                raise told.wrong("has several documents; expected one")
            first = _unshared(next(events), told)
            if isinstance(first, yaml.SequenceStartEvent):
                raise told.wrong(f"is a list; {_EXPECTED}")
            mapping = isinstance(first, yaml.MappingStartEvent)
            documents.append(_mapping(events, told, ()) if mapping else _scalar(first, told))
    return documents[0] if documents else None


def _mapping(events: Iterator[yaml.Event], told: _Told, where: tuple[str, ...]) -> _Mapping:
    """One that has begun, to its end; mappings in it may hold text alone."""
    found = _Mapping()
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        if not isinstance(event := _unshared(event, told), yaml.ScalarEvent):
            raise told.wrong("has a key that is no text")
        key: str = event.value
        event = _unshared(next(events), told)
        if isinstance(event, yaml.MappingStartEvent) and not where:
            found.pairs.append((key, _mapping(events, told, (key,))))
        elif isinstance(event, yaml.ScalarEvent):
            found.pairs.append((key, _scalar(event, told)))
        else:
            what = "a list" if isinstance(event, yaml.SequenceStartEvent) else "a mapping"
            raise told.wrong(f"{_named((*where, key))}: is {what}; {_PLAIN}")
    return found


def _unshared(event: yaml.Event, told: _Told) -> yaml.Event:
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        raise told.wrong("has an anchor or an alias; expected each value written out")
    return event


def _scalar(event: yaml.Event, told: _Told) -> str | None:
    assert isinstance(event, yaml.ScalarEvent)
    if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
        raise told.wrong("has a tag; expected plain text")
    text: str = event.value
    if event.style or event.tag:
        return text  # in quotes, a block, or said to be text
    return None if text in _NULL else _BOOL.get(text, text)


def _once(mapping: _Mapping, told: _Told, where: tuple[str, ...]) -> dict[str, _Value]:
    found: dict[str, _Value] = {}
    for key, value in mapping.pairs:
        if key in found:
            raise told.wrong(f"{_named((*where, key))}: appears twice; expected each key once")
        found[key] = value
    return found


def _word(
    given: dict[str, _Value], key: str, form: re.Pattern[str], expected: str, told: _Told
) -> str:
    value = given.get(key)
    if value is None:
        raise told.wrong(f"{key}: is required; expected {expected}")
    if not isinstance(value, str) or form.fullmatch(value) is None:
        raise told.wrong(f"{key}: is not one that rclone takes; expected {expected}")
    return value


def _type_expected(given: dict[str, _Value]) -> str:
    value = given.get("type")
    meant = meant_type(value) if isinstance(value, str) else ""
    return f"a kind of rclone remote, such as {meant or 's3'}"


def _parameters(mapping: _Mapping, told: _Told) -> Iterator[tuple[str, str]]:
    for key, value in _once(mapping, told, ("parameters",)).items():
        name = _named(("parameters", key))
        if _KEY.fullmatch(key) is None:
            raise told.wrong(f"{name}: is no option's name; expected letters, digits, '_' and '-'")
        if value is None:
            continue  # the same as absent
        if not isinstance(value, str):
            what = value.what if isinstance(value, _Other) else "a mapping"
            raise told.wrong(f"{name}: is {what}; {_PLAIN}")
        if not _is_text(value):
            raise told.wrong(f"{name}: has a character that is no text; expected UTF-8 without NUL")
        yield key, value


def _is_text(value: str) -> bool:
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def _named(path: tuple[str, ...]) -> str:
    """A key as it is told."""
    *where, key = path
    return field_name((*where, key if _SHOWN.fullmatch(key) else "(a key that is not shown)"))
