"""Every Prometheus metric of Overbook, declared once. Parts import what they count; nothing else lives here."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

# A second series per counter that tells when it began: nobody reads it, and it doubles the page.
disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped upstream
REGISTRY = CollectorRegistry()

_LATENCY = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
_FETCH = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0)
_REPLICA = ("server", "replica")

REQUESTS = Counter(
    "overbook_requests",
    "Requests by model and the path they took: hot, cold or fallback.",
    ("model", "path"),
    registry=REGISTRY,
)
REFUSED = Counter(
    "overbook_refused_requests",
    "Requests that ended without a model, by outcome.",
    ("outcome",),
    registry=REGISTRY,
)
ACTIVATION_SECONDS = Histogram(
    "overbook_activation_seconds",
    "Time from a cold request's arrival to a resident model, by phase: wait (queue, evictions), load, total.",
    ("phase",),
    buckets=_LATENCY,
    registry=REGISTRY,
)
LOADS = Counter(
    "overbook_loads",
    "Loads by server replica and result.",
    (*_REPLICA, "result"),
    registry=REGISTRY,
)
EVICTIONS = Counter(
    "overbook_evictions",
    "Models that left memory, by cause.",
    (*_REPLICA, "cause"),
    registry=REGISTRY,
)
LEDGER_BYTES = Gauge(
    "overbook_ledger_bytes",
    "Charged bytes by model state.",
    (*_REPLICA, "state"),
    registry=REGISTRY,
)
BUDGET_BYTES = Gauge(
    "overbook_budget_bytes", "Budget M of a server replica.", _REPLICA, registry=REGISTRY
)
PROCESS_BYTES = Gauge(
    "overbook_process_bytes",
    "Measured memory of the server's process tree.",
    _REPLICA,
    registry=REGISTRY,
)
WITHHELD_BYTES = Gauge(
    "overbook_withheld_bytes",
    "Memory of the inference server that no model accounts for, taken from the budget.",
    _REPLICA,
    registry=REGISTRY,
)
PRESSURE = Gauge(
    "overbook_memory_pressure",
    "0: none, 1: models are evicted for the machine's sake, 2: activations are refused.",
    _REPLICA,
    registry=REGISTRY,
)
RECYCLES = Counter(
    "overbook_server_recycles",
    "Inference servers replaced because they kept memory that was nobody's.",
    _REPLICA,
    registry=REGISTRY,
)
GPU_BYTES = Gauge(
    "overbook_gpu_bytes",
    "Memory of a GPU: used by all, held by this inference server.",
    (*_REPLICA, "device", "of"),
    registry=REGISTRY,
)
MEASURED_MINUS_DECLARED = Gauge(
    "overbook_measured_minus_declared_bytes",
    "Measured size of a model minus its declared size.",
    ("model",),
    registry=REGISTRY,
)
WAITING = Gauge(
    "overbook_waiting_requests", "Requests waiting for a model.", _REPLICA, registry=REGISTRY
)
MODELS = Gauge(
    "overbook_models", "Assigned models by state.", (*_REPLICA, "state"), registry=REGISTRY
)
MODELS_LOST = Counter(
    "overbook_models_lost",
    "Models whose own process died while the inference server went on.",
    _REPLICA,
    registry=REGISTRY,
)
SERVER_RESTARTS = Counter(
    "overbook_server_restarts",
    "Starts of the inference server after the first.",
    _REPLICA,
    registry=REGISTRY,
)
CACHE_BYTES = Gauge(
    "overbook_artifact_cache_bytes",
    "Bytes in the cache of artifacts: used, coming (being fetched), firm (cannot leave), and its budget.",
    ("of",),
    registry=REGISTRY,
)
FETCHES = Counter(
    "overbook_artifact_fetches",
    "Artifacts fetched from elsewhere, by result: ok, or what was wrong.",
    ("result",),
    registry=REGISTRY,
)
FETCHING = Gauge(
    "overbook_artifact_fetches_under_way",
    "Artifacts that are being fetched from elsewhere, or wait for room on the disk.",
    registry=REGISTRY,
)
FETCH_RATE = Gauge(
    "overbook_artifact_fetch_bytes_per_second",
    "Bytes per second of all fetches together, over the last seconds.",
    registry=REGISTRY,
)
FETCH_SECONDS = Histogram(
    "overbook_artifact_fetch_seconds",
    "Seconds that fetches took which ended well, checking and unpacking included, waiting for room not.",
    buckets=_FETCH,
    registry=REGISTRY,
)
FETCHED_BYTES = Counter(
    "overbook_artifact_fetched_bytes",
    "Bytes fetched from elsewhere, of artifacts that arrived whole.",
    registry=REGISTRY,
)
FILES_LEFT = Counter(
    "overbook_artifact_files_left",
    "Artifacts whose files left the disk to make room for others; they are fetched again when they are needed.",
    registry=REGISTRY,
)
VERDICTS = Counter(
    "overbook_scheduler_verdicts",
    "Placement verdicts: placed, partial, refused.",
    ("verdict",),
    registry=REGISTRY,
)
AUDIT_ENTRIES = Counter(
    "overbook_audit_entries",
    "Entries that were written to the audit log of the control API.",
    registry=REGISTRY,
)
AUDIT_LOST = Counter(
    "overbook_audit_lost_entries",
    "Entries of the audit log that could not be written, as on a full disk.",
    registry=REGISTRY,
)
SERVER_METRICS_UP = Gauge(
    "overbook_server_metrics_up",
    "Whether the inference server's own metrics could be read for this page.",
    _REPLICA,
    registry=REGISTRY,
)
MODEL_METRICS_DROPPED = Counter(
    "overbook_model_metrics_dropped",
    "Series of models that were left out of a page of metrics, by reason; of the server itself without a model.",
    (*_REPLICA, "model", "reason"),
    registry=REGISTRY,
)
XDS_PUSH_SECONDS = Histogram(
    "overbook_xds_ack_seconds",
    "From a routing change to Envoy's acknowledgement.",
    buckets=_LATENCY,
    registry=REGISTRY,
)
