"""How the parts open gRPC channels and servers to each other: limits and keep-alive in one place."""

from __future__ import annotations

from typing import Final

# Full syncs are chunked (SYNC_CHUNK models a message), so 16 MiB is far above any message between parts.
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
SYNC_CHUNK: Final = 1000

# Milliseconds that connecting may take, up to the first frame of HTTP/2: a busy machine needs more than a few hundred.
_CONNECTS_WITHIN_MS: Final = 2000


def reconnecting(*, at_most_ms: int) -> tuple[tuple[str, int], ...]:
    """These make a channel look for its server again after 100 ms, then ever less often, up to ``at_most_ms``."""
    return (
        ("grpc.initial_reconnect_backoff_ms", 100),
        # In spite of its name this is the time that one try gets: what takes longer has failed.
        ("grpc.min_reconnect_backoff_ms", _CONNECTS_WITHIN_MS),
        ("grpc.max_reconnect_backoff_ms", at_most_ms),
    )


CHANNEL_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A part that comes back is found again within two seconds, not after gRPC's two minutes.
    *reconnecting(at_most_ms=2000),
    # Channels to one target share no connection: a stream must not starve an activation.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)

SERVER_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Two processes on one port would split the traffic between them in silence.
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Who connects where parts speak TLS, and does not.
    ("grpc.server_handshake_timeout_ms", 10_000),
)
