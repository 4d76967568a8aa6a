"""What Prometheus reads at /metrics. Names follow its rules: unit last, `_total` for counters."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

QUEUE_DEPTH = Gauge("raysvc_queue_depth_jobs", "Waiting jobs that the scheduler looked at", registry=REGISTRY)
MOVES = Counter("raysvc_job_moves_total", "Moves of jobs into a phase", ["phase"], registry=REGISTRY)
SUBMITS = Counter("raysvc_submits_total", "Submissions by outcome", ["outcome"], registry=REGISTRY)
SUBMIT = Histogram(
    "raysvc_submit_seconds",
    "From the request to the durable acceptance",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5),
    registry=REGISTRY,
)
RECONCILE = Histogram(
    "raysvc_reconcile_seconds",
    "One pass of the reconciler",
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10),
    registry=REGISTRY,
)
