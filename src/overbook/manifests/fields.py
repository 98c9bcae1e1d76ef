"""Which fields each API group knows, and which mean nothing to Overbook. Tables, no checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from overbook.manifests.specs import GROUP, SELDON_GROUP

TOP_LEVEL: Final = frozenset({"apiVersion", "kind", "metadata", "spec"})
# What `kubectl get` and `overbook get` add; dropped, so that their output can be applied again.
TOP_LEVEL_DROPPED: Final = frozenset({"status"})
METADATA: Final = frozenset({"name", "namespace", "labels", "annotations"})
METADATA_DROPPED: Final = frozenset(
    {
        "creationTimestamp",
        "finalizers",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)


@dataclass(frozen=True, slots=True)
class KnownFields:
    """Fields of one kind's spec in one group. `inert` ones are kept and change nothing."""

    active: frozenset[str]
    inert: frozenset[str] = frozenset()


_MODEL: Final = frozenset(
    {
        "storageUri",
        "secretName",
        "artifactVersion",
        "requirements",
        "memory",
        "replicas",
        "minReplicas",
        "server",
        "modelName",
        "parameters",
        "activationTimeout",
    }
)
_SERVER: Final = frozenset({"serverConfig", "replicas", "extraCapabilities", "capabilities"})

SPEC: Final[dict[tuple[str, str], KnownFields]] = {
    (GROUP, "Model"): KnownFields(
        _MODEL | {"pinned", "priority", "keepAlive", "verify", "needs", "refresh"}
    ),
    (GROUP, "Server"): KnownFields(
        _SERVER
        | {
            "memory",
            "overcommitPercentage",
            "allowOversizedMemory",
            "evictionPolicy",
            "address",
            "modelRepository",
            "environment",
            "allow",
            "denyPickle",
        }
    ),
    (SELDON_GROUP, "Model"): KnownFields(
        _MODEL | {"modelType"},
        frozenset(
            {
                "dataflow",
                "dedicated",
                "explainer",
                "llm",
                "logger",
                "maxReplicas",
                "preloaded",
                "schemaUri",
            }
        ),
    ),
    (SELDON_GROUP, "Server"): KnownFields(
        _SERVER | {"podSpec"},
        frozenset(
            {
                "disableAutoUpdate",
                "imageOverrides",
                "maxReplicas",
                "minReplicas",
                "scalingSpec",
                "statefulSetPersistentVolumeClaimRetentionPolicy",
            }
        ),
    ),
}
