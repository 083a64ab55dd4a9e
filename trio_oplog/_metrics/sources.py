"""Step 3: metrics out of what a Client, a gateway and an Interceptor say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from trio_oplog._delivery import Statistics
from trio_oplog._metrics.model import Attributes, Counter, Gauge, Metric, Point
from trio_oplog._recording import InterceptorStatistics

if TYPE_CHECKING:  # the gateway is an extra, which wrap's metrics do without
    from trio_oplog.gateway import GatewayStatistics, HTTPGatewayStatistics

DESTINATION: Final = "trio_oplog.destination"
REASON: Final = "trio_oplog.drop.reason"
_OPERATIONS: Final = "{operation}"


def of_client(accounts: Mapping[str, Statistics]) -> list[Metric]:
    """The accounts of Clients.

    Args:
        accounts: Each by the name of where it delivers to.
    """
    by: list[tuple[Attributes, Statistics]] = [(((DESTINATION, name),), account) for name, account in accounts.items()]
    return [
        Counter(
            name="trio_oplog.operations.submitted",
            unit=_OPERATIONS,
            help="Operations handed to delivery, those that a spool brought from an earlier run included.",
            points=[Point(account.submitted, key) for key, account in by],
        ),
        Counter(
            name="trio_oplog.operations.delivered",
            unit=_OPERATIONS,
            help="Operations that the endpoint says it has stored.",
            points=[Point(account.delivered, key) for key, account in by],
        ),
        Counter(
            name="trio_oplog.operations.dropped",
            unit=_OPERATIONS,
            help="Operations that were given up, by reason.",
            points=[
                Point(count, (*key, (REASON, reason.value))) for key, account in by for reason, count in account.dropped.items()
            ],
        ),
        Gauge(
            name="trio_oplog.operations.queued",
            unit=_OPERATIONS,
            help="Operations that wait in memory or in the spool.",
            points=[Point(account.queued, key) for key, account in by],
        ),
        Gauge(
            name="trio_oplog.operations.in_flight",
            unit=_OPERATIONS,
            help="Operations that a request is being made for, or that wait to be tried again.",
            points=[Point(account.in_flight, key) for key, account in by],
        ),
        Gauge(
            name="trio_oplog.queue.size",
            unit="By",
            help="What the queue in memory is charged with.",
            points=[Point(account.queued_bytes, key) for key, account in by],
        ),
        Gauge(
            name="trio_oplog.queue.oldest_age",
            unit="s",
            help="How long the oldest operation in the queue in memory has been waiting.",
            points=[Point(account.oldest_age, key) for key, account in by],
        ),
        Counter(
            name="trio_oplog.spool.committed",
            unit=_OPERATIONS,
            help="Operations of this run that were committed to the spool.",
            points=[Point(account.spooled, key) for key, account in by],
        ),
        Counter(
            name="trio_oplog.requests",
            unit="{request}",
            help="HTTP requests that were begun.",
            points=[Point(account.requests, key) for key, account in by],
        ),
        Counter(
            name="trio_oplog.requests.failed",
            unit="{request}",
            help="HTTP requests that got no answer, or one that asked for another attempt.",
            points=[Point(account.failed_requests, key) for key, account in by],
        ),
    ]


def of_interceptor(seen: InterceptorStatistics) -> list[Metric]:
    """What one Interceptor has seen."""
    return [_open_calls(seen.open_calls + seen.suspended_calls)]


def of_gateway(done: GatewayStatistics | HTTPGatewayStatistics) -> list[Metric]:
    """What a gateway has done."""
    return [
        _open_calls(done.open_calls),
        Gauge(
            name="trio_oplog.connections.open",
            unit="{connection}",
            help="Clients that are connected.",
            points=[Point(done.open_connections)],
        ),
        Counter(
            name="trio_oplog.connections",
            unit="{connection}",
            help="Clients that connected, by what became of that.",
            points=[
                Point(done.accepted, (("trio_oplog.connection.outcome", "accepted"),)),
                Point(done.unauthenticated, (("trio_oplog.connection.outcome", "unauthenticated"),)),
                Point(done.refused, (("trio_oplog.connection.outcome", "refused"),)),
            ],
        ),
        Counter(
            name="trio_oplog.upstream.failures",
            unit="{connection}",
            help="Clients that were let in and for whom there was no server.",
            points=[Point(done.upstream_failures)],
        ),
    ]


def _open_calls(count: int) -> Gauge:
    return Gauge(name="trio_oplog.calls.open", unit="{call}", help="Calls that have begun and not ended.", points=[Point(count)])
