"""Pure: the scripts of a data listener that asks for tokens, made of the texts of `gateway/lua/` and of the tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from overbook.access.refusals import NO_TOKEN
from overbook.access.roles import Role, may
from overbook.access.tokens import Token

_KEY: Final = "@KEY@"
_TOKENS: Final = "@TOKENS@"
_NOTES: Final = "@NOTES@"
_NO_TOKEN: Final = "@NO_TOKEN@"


@dataclass(frozen=True, slots=True)
class Asking:
    """As `routes.Scripts`, for who has to show a token. A key and digests are in them.

    ``busy``: for the routes of the busiest models; ``large``: for large bodies; ``own``: for what the gateway itself
    answers; ``own_path``: for paths that models define for themselves, ``own_path_large`` if the body is large.

    ``whose``: tells whose request it is; ``rates``: how many per second tokens may make. ``waiting``: those tokens of
    which not any number may wait.
    """

    choose_cluster: str = field(repr=False)
    choose_rest: str = field(repr=False)
    name_grpc: str = field(repr=False)
    size_rest: str = field(repr=False)
    busy: str = field(repr=False)
    large: str = field(repr=False)
    own: str = field(repr=False)
    own_path: str = field(repr=False)
    own_path_large: str = field(repr=False)
    whose: str = field(repr=False)
    rates: tuple[tuple[str, int], ...] = ()
    waiting: tuple[str, ...] = ()


def asking(
    templates: Asking, key: bytes, tokens: Iterable[Token], now: float, notes: str = ""
) -> Asking:
    """The scripts that know these tokens, as far as they hold now and may use models. ``notes``: the file to which they
    write that one was used; "" for none.
    """
    held = [each for each in tokens if each.holds(now) and may(each.role, Role.INFER)]
    lines = "".join(
        f"{each.digest.hex()} {each.name} {each.rate or '-'} {each.waiting or '-'} {' '.join(each.models)}\n"
        for each in held
    )

    def filled(text: str) -> str:
        text = text.replace(_NO_TOKEN, NO_TOKEN).replace(_NOTES, notes)
        return text.replace(_KEY, key.hex()).replace(_TOKENS, lines)

    return Asking(
        choose_cluster=filled(templates.choose_cluster),
        choose_rest=filled(templates.choose_rest),
        name_grpc=filled(templates.name_grpc),
        size_rest=filled(templates.size_rest),
        busy=filled(templates.busy),
        large=filled(templates.large),
        own=filled(templates.own),
        own_path=filled(templates.own_path),
        own_path_large=filled(templates.own_path_large),
        whose=filled(templates.whose),
        rates=tuple((each.name, each.rate) for each in held if each.rate),
        waiting=tuple(each.name for each in held if each.waiting),
    )
