"""What a collector counts, as Prometheus reads it.  No metric has a workspace, a tool or a user."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from trio_oplog.collector._size import StoreSize

MEDIA_TYPE: Final = CONTENT_TYPE_LATEST

_SECONDS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_SIZES: Final = (1, 5, 20, 50, 100, 200, 500, 1_000, 5_000, 20_000)
_REASONS: Final = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method",
    408: "slow",
    413: "too_large",
    415: "media_type",
    422: "workspace",
    429: "live_tails",
    503: "store",
}
_OTHER: Final = "other"


class Metrics:
    """The metrics of one app."""

    def __init__(self) -> None:
        # Of its own: several apps in one process count apart.
        self._registry = CollectorRegistry()
        self._stored = Counter(
            "trio_oplog_operations_acknowledged",
            "Operations that are stored, redelivered ones among them.",
            registry=self._registry,
        )
        self._lines = Counter("trio_oplog_lines_refused", "Lines of batches that were refused.", registry=self._registry)
        self._batches = Histogram(
            "trio_oplog_batch_operations", "Operations in one request.", buckets=_SIZES, registry=self._registry
        )
        self._requests = Histogram(
            "trio_oplog_request_seconds",
            "How long requests took, to the end of the response.",
            ("route", "method"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._refused = Counter(
            "trio_oplog_requests_refused", "Requests that were refused.", ("reason",), registry=self._registry
        )
        self._listeners = Gauge("trio_oplog_live_listeners", "Live tails that are open.", registry=self._registry)
        self._bytes = Gauge("trio_oplog_store_bytes", "What the store takes on disk.", registry=self._registry)
        self._oldest = Gauge(
            "trio_oplog_oldest_day_timestamp_seconds",
            "The beginning of the day of the oldest operation; 0 without any.",
            registry=self._registry,
        )
        for reason in (*_REASONS.values(), _OTHER):
            self._refused.labels(reason)

    def take(self, stored: int, refused: int) -> None:
        """Count the operations of a request."""
        self._stored.inc(stored)
        self._lines.inc(refused)
        self._batches.observe(stored + refused)

    def finish(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that is over."""
        self._requests.labels(route, method).observe(seconds)
        if status >= 400:
            self._refused.labels(_REASONS.get(status, _OTHER)).inc()

    def listen(self, change: int) -> None:
        """Count live tails that begin or end."""
        self._listeners.inc(change)

    def write(self, size: StoreSize) -> bytes:
        """Everything, as Prometheus reads it."""
        self._bytes.set(size.bytes)
        self._oldest.set(0 if size.oldest is None else size.oldest.timestamp())
        return generate_latest(self._registry)
