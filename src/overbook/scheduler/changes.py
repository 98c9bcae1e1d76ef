"""What one step of `state` changed: what to write, and then whom to tell. A value, filled by `state` only."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from overbook.placement import ReplicaId


@dataclass(frozen=True, slots=True)
class Note:
    """An event about to happen; it is published when what it tells of is durable."""

    reason: str
    kind: str
    name: str
    message: str
    warning: bool = False
    replica: ReplicaId | None = None


@dataclass(slots=True)
class Changes:
    """``models`` … ``uses`` (of tokens) are to be written; ``hints`` may be written later, with the next.

    ``routes``: models whose catalogue entry changed. ``told``: models whose assignment a replica's agent
    must hear of now; ``revoked``: the same, but only once gateways know the new catalogue.
    ``verdicts``: how many placements ended how (placed, partial, refused), where the answer was a new one.
    """

    models: set[str] = field(default_factory=set)
    gone_models: set[str] = field(default_factory=set)
    servers: set[str] = field(default_factory=set)
    gone_servers: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    gone_secrets: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    gone_tokens: set[str] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)
    hints: set[str] = field(default_factory=set)
    routes: set[str] = field(default_factory=set)
    replicas: set[ReplicaId] = field(default_factory=set)
    told: defaultdict[ReplicaId, set[str]] = field(default_factory=lambda: defaultdict(set))
    revoked: defaultdict[ReplicaId, set[str]] = field(default_factory=lambda: defaultdict(set))
    configured: set[ReplicaId] = field(default_factory=set)
    server_list: bool = False
    notes: list[Note] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)

    @property
    def durable(self) -> bool:
        """Whether there is something that must be written before anybody is told."""
        of_models = self.models or self.gone_models
        of_servers = self.servers or self.gone_servers
        return bool(of_models or of_servers or self.of_secrets or self.of_tokens or self.uses)

    @property
    def of_tokens(self) -> bool:
        """Whether gateways may know other tokens than there are."""
        return bool(self.tokens or self.gone_tokens)

    @property
    def of_secrets(self) -> bool:
        """Whether agents know other secrets than there are."""
        return bool(self.secrets or self.gone_secrets)
