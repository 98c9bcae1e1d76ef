"""The Lua scripts of `gateway/lua/` as Envoy gets them: each with what it shares with others, and with the limits."""

from __future__ import annotations

from importlib import resources

from overbook.gateway.snapshot.asking import Asking
from overbook.gateway.snapshot.names import filled
from overbook.gateway.snapshot.routes import Scripts


def read_scripts() -> Scripts:
    """The listeners and their routes run these."""
    return Scripts(
        choose_cluster=_script("rest_path", "choose_cluster"),
        choose_rest=_script("rest_path", "choose_cluster", "choose_rest"),
        choose_place=_script("rest_path", "choose_place"),
        name_grpc=_script("rest_path", "inflate", "name_grpc"),
        size_rest=_script("inflate", "size_rest"),
        name_rest=_script("rest_path", "name_rest"),
    )


def read_asking() -> Asking:
    """The same where tokens are asked for, still without the tokens: see `asking`."""
    return Asking(
        choose_cluster=_script("rest_path", "tokens", "choose_cluster", "asked"),
        choose_rest=_script("rest_path", "tokens", "choose_cluster", "choose_rest", "asked"),
        name_grpc=_script("rest_path", "tokens", "inflate", "name_grpc", "asked_grpc"),
        size_rest=_script("rest_path", "tokens", "inflate", "size_rest", "asked_size"),
        busy=_script("rest_path", "tokens", "choose_cluster", "choose_rest", "asked_busy"),
        large=_script("rest_path", "tokens", "to_large", "asked"),
        own=_script("rest_path", "tokens", "asked_own"),
        own_path=_script("rest_path", "tokens", "to_cold", "asked_path"),
        own_path_large=_script("rest_path", "tokens", "to_large", "asked_path"),
        whose=_script("rest_path", "tokens", "whose"),
    )


def read_unanswered() -> str:
    """The clusters of places run this one: see `snapshot/clusters.py`."""
    return _script("unanswered")


def _script(*names: str) -> str:
    folder = resources.files("overbook.gateway") / "lua"
    return filled("".join((folder / f"{name}.lua").read_text() for name in names))
