"""Pure: what routes are made of, as plain JSON-like documents: where one leads, what it matches, what is retried."""

from __future__ import annotations

from typing import Final, TypeAlias

from overbook.gateway.snapshot import names

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

_TYPE: Final = "type.googleapis.com/envoy.extensions"
# Also what no model answered, whatever the status: see UNANSWERED_HEADER. A model's own 404 is its answer.
RETRY_ALWAYS: Final = "connect-failure,refused-stream,reset,retriable-headers"
# A request that kills the server is not tried for ever.
RETRY_FINAL: Final = "connect-failure,refused-stream"


def present(header: str) -> dict[str, Json]:
    return {"name": header, "present_match": True}


def absent(header: str) -> Json:
    return {**present(header), "invert_match": True}


def to(cluster: str) -> dict[str, Json]:
    return {"cluster": cluster}


def chosen_by(script: str) -> dict[str, Json]:
    """A script that fails leads where requests are looked at more closely."""
    return {
        "inline_cluster_specifier_plugin": chooser(
            "choose-cluster", script, names.CLUSTER_COLD_REST
        )
    }


def asked(script: str) -> dict[str, Json]:
    """The same where tokens are asked for: a script that fails lets nobody in."""
    return {
        "inline_cluster_specifier_plugin": chooser("choose-cluster", script, names.CLUSTER_NO_TOKEN)
    }


def chooser(name: str, script: str, failed: str) -> Json:
    return {
        "extension": {
            "name": name,
            "typed_config": {
                "@type": f"{_TYPE}.router.cluster_specifiers.lua.v3.LuaConfig",
                "source_code": {"inline_string": script},
                "default_cluster": failed,
            },
        }
    }


def route_action(retry: Json) -> dict[str, Json]:
    action: dict[str, Json] = {
        "timeout": "0s",
        # The client's own grpc-timeout is respected, whatever it is.
        "max_stream_duration": {"grpc_timeout_header_max": "0s"},
    }
    if retry is not None:
        action["retry_policy"] = retry
    return action


def retried(retry_on: str) -> Json:
    """One more try, at the next priority, which is the cold listener."""
    return {
        "retry_on": retry_on,
        "retriable_headers": [present(names.UNANSWERED_HEADER)],
        "num_retries": 1,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
        "retry_priority": {
            "name": "previous-priorities",
            "typed_config": {
                "@type": f"{_TYPE}.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                "update_frequency": 1,
            },
        },
    }
