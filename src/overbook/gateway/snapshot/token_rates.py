"""Pure: how many requests per second each token may make, as plain JSON-like documents.

A script tells whose request it is (lua/whose.lua), and Envoy's own filter counts, over all its threads. Both are in the
listener and do nothing until the routes say what, while some token has such a limit. Counting begins anew whenever the
routes change: within that second up to twice as many may pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from overbook.gateway.snapshot.route_parts import Json

# The filters, by name.
WHOSE: Final = "whose"
RATES: Final = "rate-of-token"
# Where the script tells the token's name, and its rate: as dynamic metadata, (namespace, key).
TOKEN: Final = ("overbook", "token")
RATE: Final = ("overbook", "rate")
_TYPE: Final = "type.googleapis.com/envoy.extensions.filters.http"
_ALWAYS: Final[Json] = {"default_value": {"numerator": 100}}
# Of who has no such limit, every second: more than anybody can send.
_ANY: Final = 1_000_000_000


def rate_limit(name: str, bucket: Json, more: dict[str, Json] | None = None) -> dict[str, Json]:
    """The settings of Envoy's filter that counts requests."""
    return {
        "@type": f"{_TYPE}.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": name,
        "token_bucket": bucket,
        "filter_enabled": _ALWAYS,
        "filter_enforced": _ALWAYS,
        "rate_limited_as_resource_exhausted": True,
        **(more or {}),
    }


def per_second(rate: int) -> Json:
    """What was not used within a second is lost."""
    return {"max_tokens": rate, "tokens_per_fill": rate, "fill_interval": "1s"}


def filters() -> list[Json]:
    """In the listener."""
    return [
        {
            "name": WHOSE,
            "disabled": True,
            "typed_config": {"@type": f"{_TYPE}.lua.v3.Lua"},
        },
        {
            "name": RATES,
            "disabled": True,
            "typed_config": rate_limit(RATES, per_second(_ANY)),
        },
    ]


def of_routes(whose: str, rates: Iterable[tuple[str, int]]) -> dict[str, Json]:
    """What the routes say to them. ``rates``: requests per second by token; where none has a limit, nothing."""
    buckets: list[Json] = [
        {"entries": [{"key": "token", "value": token}], "token_bucket": per_second(rate)}
        for token, rate in rates
    ]
    if not buckets:
        return {}
    namespace, key = TOKEN
    named: Json = {
        "metadata": {
            "descriptor_key": "token",
            "metadata_key": {"key": namespace, "path": [{"key": key}]},
            "source": "DYNAMIC",
            "skip_if_absent": True,
        }
    }
    more: dict[str, Json] = {"descriptors": buckets, "rate_limits": [{"actions": [named]}]}
    return {
        WHOSE: {
            "@type": f"{_TYPE}.lua.v3.LuaPerRoute",
            "source_code": {"inline_string": whose},
        },
        RATES: rate_limit(RATES, per_second(_ANY), more),
    }
