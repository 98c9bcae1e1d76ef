"""A requirement that nobody offers: the nearest word there is, and what would provide it. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from overbook.manifests.requirements import (
    is_versioned,
    plain_word,
    unmet,
    versions_offered,
    words_offered,
)
from overbook.placement.views import ModelDemand, Provider, ReplicaView


def nobody_offers(
    model: ModelDemand, views: Sequence[ReplicaView], providers: Sequence[Provider]
) -> str:
    """One line for a model whose requirements none of ``views`` (at least one) has."""
    offered = frozenset().union(*(view.capabilities for view in views))
    missing = unmet(model.requirements, offered)
    if not missing:
        every = ", ".join(sorted(model.requirements))
        return (
            f"spec.requirements: no server replica offers all of {every} together; "
            "drop one, or add what is missing to a Server's extraCapabilities"
        )
    possible = providers
    who = "no server offers"
    if model.server is not None:
        runtimes = {view.runtime for view in views}
        possible = [each for each in providers if each.runtime in runtimes]
        who = f"server {model.server!r} does not offer"
    hints = ", ".join(_hint(word, offered, views, possible) for word in missing)
    if all(map(is_versioned, missing)):
        own = f"a Server with environment: {{packages: [{', '.join(missing)}]}}"
        return f"spec.requirements: {who} {hints}; change it, or apply {own}"
    return (
        f"spec.requirements: {who} {hints}; offered are {', '.join(words_offered(offered)) or 'none'}; "
        "correct it, or add it to a Server's extraCapabilities"
    )


def _versions_hint(word: str, views: Sequence[ReplicaView]) -> str:
    """Which versions of the package there are, and where."""
    holders: dict[str, set[str]] = {}
    for view in views:
        for version in versions_offered(word, view.capabilities):
            holders.setdefault(version, set()).add(view.id.server)
    there = ", ".join(
        f"{version} on {' and '.join(sorted(servers))}"
        for version, servers in sorted(holders.items())
    )
    return f"{word!r} (there is {there or f'no {plain_word(word)}'})"


def _hint(
    word: str,
    offered: frozenset[str],
    views: Sequence[ReplicaView],
    providers: Sequence[Provider],
) -> str:
    if is_versioned(word):
        return _versions_hint(word, views)
    known = {each.word for each in providers}
    if word in known:
        return f"{word!r} ({_remedy(word, views, providers)})"
    close = difflib.get_close_matches(word, sorted({*words_offered(offered), *known}), n=1)
    if not close:
        return repr(word)
    nearest = close[0]
    if nearest in offered:
        return f"{word!r} (did you mean {nearest!r}?)"
    return f"{word!r} (did you mean {nearest!r}? {_remedy(nearest, views, providers)})"


def _remedy(word: str, views: Iterable[ReplicaView], providers: Iterable[Provider]) -> str:
    """The least that a person must do to have the word offered."""
    running = {view.runtime for view in views if not view.attached}
    remedies = [_steps(each, running) for each in providers if each.word == word]
    return min(remedies)[1]


def _steps(provider: Provider, running: set[str]) -> tuple[int, str]:
    """How much is to be done, for comparison, and what."""
    word, runtime = provider.word, provider.runtime
    if provider.attached:
        return 4, (
            f"attach a {runtime} that has it: a Server with serverConfig: {runtime}, address and "
            f"extraCapabilities: [{word}]"
        )
    if runtime in running:
        if provider.extra:
            return 1, f"run `overbook runtime install {runtime} --with {provider.extra}`"
        return 0, f"add it to spec.capabilities of the Server that runs {runtime}"
    server = f"apply a Server with serverConfig: {runtime}"
    if provider.extra:
        return 3, f"{server} and extraCapabilities: [{provider.extra}]"
    return 2, server
