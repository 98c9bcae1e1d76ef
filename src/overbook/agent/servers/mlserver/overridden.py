"""Names the settings in an artifact that have no effect here, because all models share the one process that Overbook
starts and sets up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

SERVER_FILE: Final = "settings.json"
# Of a model's settings, with what to do instead. Their values that change nothing are no reason to warn.
_OF_MODEL: Final = {
    "parallel_workers": "more processes come with more replicas of the Model or its Server",
    "warm_workers": "models are loaded in the server's own process",
    "cache_enabled": "no answers are kept",
}
_OF_PARAMETERS: Final = {
    "inference_pool_gid": "there are no worker processes",
    "autogenerate_inference_pool_gid": "there are no worker processes",
}
_NAMED: Final = 8


def of_model(own: Mapping[str, object]) -> Iterator[str]:
    """Of a model-settings.json, in words, one after the other."""
    yield from _without_effect(own, _OF_MODEL, "")
    parameters = own.get("parameters")
    if isinstance(parameters, Mapping):
        yield from _without_effect(parameters, _OF_PARAMETERS, "parameters.")


def _without_effect(
    given: Mapping[str, object], known: Mapping[str, str], where: str
) -> Iterator[str]:
    for name, instead in known.items():
        if given.get(name):
            yield f"model-settings.json: {where}{name} has no effect: {instead}"


def of_server(given: Mapping[str, object]) -> str:
    """Of a settings.json in an artifact, which is meant for a whole MLServer; "" where it says nothing."""
    names = sorted(given)
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    workers = f"; {_OF_MODEL['parallel_workers']}" if given.get("parallel_workers") else ""
    return (
        f"{SERVER_FILE} has no effect, as Overbook sets up the server that all its models share: "
        f"{', '.join(names[:_NAMED])}{more}{workers}"
    )
