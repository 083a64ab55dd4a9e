"""Step 7: the Client: takes operations without waiting, delivers them from its own tasks, and accounts for each."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from time import monotonic
from types import MappingProxyType
from typing import Final, Literal, Self

import httpx
import trio

from trio_oplog._address import check_url
from trio_oplog._delivery.inbox import ThreadInbox
from trio_oplog._delivery.ledger import DrainReport, DropReason, Ledger, Statistics, logger
from trio_oplog._delivery.memory import MemoryBacklog
from trio_oplog._delivery.protocol import CollectorProtocol, EndpointProtocol
from trio_oplog._delivery.queue import Overflow, Queue
from trio_oplog._delivery.record import OVERHEAD, Record, payload_size
from trio_oplog._delivery.request import Endpoint
from trio_oplog._delivery.retry import Retry
from trio_oplog._delivery.spool import Spool, SpoolFolder
from trio_oplog._delivery.spool_backlog import SpoolBacklog
from trio_oplog._delivery.worker import Backlog, DeliveryWorker
from trio_oplog._errors import ClientStateError, ConfigError
from trio_oplog._forking import watch_forks
from trio_oplog._operation import Operation, shrink
from trio_oplog._reach import check_ca_file
from trio_oplog._trio import require_trio
from trio_oplog._wire import converter

_MIB: Final = 1024 * 1024
_CAPACITY: Final = 1024


class Client:
    """Delivers operations to an endpoint over HTTP.

    ::

        async with Client("https://agentserver/internal/operations", secret) as client:
            client.submit(operation)

    Submitting never waits and never raises: it puts the operation into a bounded queue in memory, and tasks in the client's own
    nursery take it from there and POST it.  Leaving the block delivers what is left for at most ``drain_timeout`` seconds,
    however the block ended, and lets the block's exception out as it is.  Enter and leave it in the same task, once.

    Args:
        url: Where operations go, ``http`` or ``https``: ``trio_oplog.collector``, the predecessor's endpoint, or what speaks
            ``protocol``.
        secret: The value of the header ``X-Internal-Secret``; visible ASCII.  It is in no log line and no repr.  There must be
            one, but for an ``Otlp``, which has headers of its own.
        capacity: The most operations that wait in the queue in memory; at least 1.  ``None`` means 1 024 without a spool.
            With one it means as many as ``queue_bytes`` allow, so that thousands that are submitted at once wait in memory
            for the moment that the spool takes to commit them.
        protocol: What the endpoint speaks: an ``Otlp``; ``None`` for the collector's own JSON.
        http: A ready HTTP client, for proxies, client certificates or an in-process transport.  It is not closed.  Without one
            the client makes its own, which uses no proxy of the environment.
        ca_file: A file of certificates in PEM form that an ``https`` endpoint is verified with, in place of all others.  Without
            one the environment variables ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` count, else the package ``certifi``.  Not
            together with ``http``.
        concurrency: The most requests at one time; at least 1.
        request_timeout: How long one request may take from first to last byte, in seconds.
        drain_timeout: How long leaving the block may take, in seconds; 0 gives up at once.
        retry: When failed requests are made again.
        batch_size: The most operations in one request.  More than 1 sends ``application/x-ndjson``, which
            ``trio_oplog.collector`` knows; an endpoint that does not is spoken to one by one.
        batch_bytes: The most bytes in one request of more than one operation.
        queue_bytes: The most bytes that wait in memory, by estimate; at least 4096.
        record_max_bytes: The largest encoded operation that is sent, in bytes; at least 1024.  A larger one is sent with sizes
            and digests in place of its payload.
        overflow: Which operation is dropped when the queue or the spool is full: the newest (``"drop_newest"``) or the oldest
            (``"drop_oldest"``) of the workspace that holds the most of it.  A workspace that holds no more than its share, which
            is the limit divided by the workspaces that have something waiting, loses nothing.
        on_drop: Called with each operation that is given up and why: in Trio's thread, or in the one that
            ``submit_from_thread()`` was called in.  Must not block; if it raises, that is counted.
        spool: Where operations wait on disk until the endpoint has stored them.  Without one they wait in memory.

    Raises:
        ConfigError: A value is wrong; the error names it.  Nothing was made.  On entering: the certificates to trust cannot be
            read.
        TrioRequiredError: On entering: the program runs under another event loop than Trio's.
        SpoolInUseError: On entering: another process or client has the spool.
        SpoolError: On entering: the spool's file cannot be opened, or is something else.
        ClientStateError: On entering: it was entered before.
    """

    def __init__(
        self,
        url: str,
        secret: str | None = None,
        capacity: int | None = None,
        *,
        protocol: EndpointProtocol | None = None,
        http: httpx.AsyncClient | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        concurrency: int = 16,
        request_timeout: float = 5.0,
        drain_timeout: float = 5.0,
        retry: Retry | None = None,
        batch_size: int = 1,
        batch_bytes: int = _MIB,
        queue_bytes: int = 64 * _MIB,
        record_max_bytes: int = _MIB,
        overflow: Literal["drop_newest", "drop_oldest"] = "drop_newest",
        on_drop: Callable[[Operation, DropReason], object] | None = None,
        spool: Spool | SpoolFolder | None = None,
    ) -> None:
        if protocol is None:
            protocol = CollectorProtocol()
        elif not callable(getattr(protocol, "judge", None)):
            raise ConfigError("protocol", "must be an Otlp, or None")
        endpoint = protocol.address(check_url(url))
        headers = protocol.request_headers(secret)
        _check_whole(1, concurrency=concurrency, batch_size=batch_size, batch_bytes=batch_bytes)
        if capacity is not None:
            _check_whole(1, capacity=capacity)
        elif spool is None:
            capacity = _CAPACITY
        _check_whole(4096, queue_bytes=queue_bytes)
        _check_whole(1024, record_max_bytes=record_max_bytes)
        _check_seconds("request_timeout", request_timeout, least=math.ulp(0.0))
        _check_seconds("drain_timeout", drain_timeout, least=0.0)
        if overflow not in list(Overflow):
            raise ConfigError("overflow", f"must be one of {', '.join(Overflow)}")
        if retry is not None and not isinstance(retry, Retry):
            raise ConfigError("retry", "must be a Retry")
        if http is not None and not isinstance(http, httpx.AsyncClient):
            raise ConfigError("http", "must be an httpx.AsyncClient")
        trusted = check_ca_file(ca_file, http)
        if on_drop is not None and not callable(on_drop):
            raise ConfigError("on_drop", "must be callable")
        if spool is not None and not isinstance(spool, Spool | SpoolFolder):
            raise ConfigError("spool", "must be a Spool or a SpoolFolder")

        self._concurrency = concurrency
        self._drain_timeout = drain_timeout
        self._record_max = record_max_bytes
        self._ledger = Ledger(on_drop)
        self._queue = Queue(capacity, queue_bytes, Overflow(overflow))
        self._endpoint = Endpoint(endpoint, headers, http, request_timeout, trusted)
        self._backlog: Backlog
        if spool is None:
            self._backlog = MemoryBacklog(self._queue, self._ledger, record_max_bytes)
        else:
            self._backlog = SpoolBacklog(
                spool, self._queue, self._ledger, record_max_bytes, Overflow(overflow), self._endpoint.name
            )
        self._worker = DeliveryWorker(
            self._endpoint,
            protocol,
            retry or Retry(),
            self._ledger,
            self._backlog,
            batch_size=batch_size,
            batch_bytes=batch_bytes,
        )
        self._inbox = ThreadInbox(queue_bytes // OVERHEAD if capacity is None else capacity)
        self._thread = threading.get_ident()
        self._entered = False
        self._report: DrainReport | None = None
        self._running = trio.Event()
        self._finished = trio.Event()
        self._delivering = trio.CancelScope(shield=True)
        watch_forks(self)

    def after_fork(self) -> None:
        """In a forked process: take no operation any more, and touch nothing that is the parent's."""
        self._thread = 0  # no thread's: submit() goes by the inbox
        self._queue.closed = True
        self._inbox.after_fork()

    def __repr__(self) -> str:
        return f"<Client of {self._endpoint.name}: {len(self._queue)} queued, {self._ledger.in_flight} in flight>"

    # Taking operations

    @trio.lowlevel.enable_ki_protection  # a Ctrl-C between two lines would leave the ledger wrong
    def submit(self, operation: Operation, /) -> None:
        """Take one operation for delivery; never waits and never raises.

        From another thread it does what ``submit_from_thread()`` does.  In a process that was forked from the one that runs the
        client, every operation is dropped as ``forked``, and the parent's queue and spool are left alone.

        Args:
            operation: What to deliver.  If there is no room or the client is not open, it is dropped and counted.
        """
        if threading.get_ident() != self._thread:
            self.submit_from_thread(operation)
            return
        self._ledger.submitted = number = self._ledger.submitted + 1
        try:
            workspace = operation.workspace_id
            if workspace.__class__ is not str:
                workspace = _plain(workspace)
            # payload_size(), spelled out: a call would be a tenth of what submitting costs.
            size = OVERHEAD + len(operation.arguments or b"") + len(operation.result_summary or "")
        except Exception:  # noqa: BLE001 -- what was handed in is no Operation
            self._ledger.refuse(None, DropReason.INVALID)
            return
        if self._queue.closed:
            self._ledger.refuse(operation, DropReason.NOT_OPEN)
            return
        if size > self._record_max + OVERHEAD:
            operation, size = self._shrunk(operation, size)
        dropped = self._queue.put(Record(number, operation, size, monotonic(), workspace=workspace))
        if dropped:
            self._ledger.drop(dropped, DropReason.QUEUE_FULL)

    def _shrunk(self, operation: Operation, size: int) -> tuple[Operation, int]:
        try:
            operation = shrink(operation)
            return operation, OVERHEAD + payload_size(operation)
        except Exception:  # noqa: BLE001 -- made by hand, of wrong types; encoding it will say so
            return operation, size

    async def wait_submit(self, operation: Operation, /) -> None:
        """Take one operation, waiting for room in the queue first.

        Args:
            operation: What to deliver.  It is dropped and counted where waiting is no use: the client is not open or closes
                meanwhile, or the operation is larger than the whole queue.  If the wait is cancelled, it was not submitted.
        """
        try:
            size = OVERHEAD + min(payload_size(operation), self._record_max)
        except Exception:  # noqa: BLE001 -- no Operation: submit() counts it
            size = OVERHEAD
        await self._backlog.has_room(size)
        await self._queue.has_room(size)
        self.submit(operation)

    def submit_from_thread(self, operation: Operation, /) -> None:
        """Take one operation in any thread; never waits for Trio and never raises.

        At most ``capacity`` operations wait to be taken over by Trio's thread; of more, the newest of the workspace that has the
        most waiting is dropped as ``queue_full``.

        Args:
            operation: What to deliver.
        """
        for given_up, reason in self._inbox.enter(operation):
            self._ledger.tell(given_up, reason)

    # What became of them

    @property
    def dropped(self) -> int:
        """How many operations were given up, for whatever reason."""
        return self._ledger.total_dropped + self._inbox.total_refused

    @property
    def healthy(self) -> bool:
        """Whether the client is open, its endpoint not known to be down or behind a wrong path, and its spool not failing."""
        return not (self._queue.closed or self._worker.breaker.is_open or self._backlog.failing)

    @property
    def last_error(self) -> str | None:
        """Why the last request that failed did, in a few words; ``None`` if none ever did.

        Such as ``HTTP 503``, ``HTTP 401: the secret is wrong``, ``TLS: unknown authority`` or ``HTTP 400: tool is wrong``.
        """
        return self._worker.last_error

    @property
    def oldest_age(self) -> float:
        """How long the oldest operation in the queue has been waiting, in seconds; 0 when none is.  Asks each workspace."""
        return self._queue.oldest_age

    @property
    def drain_report(self) -> DrainReport | None:
        """How the block was left; ``None`` before."""
        return self._report

    def statistics(self) -> Statistics:
        """The account of this moment."""
        ledger = self._ledger
        waiting, refused = self._inbox.counts()
        dropped = dict(ledger.dropped)
        for reason, count in refused.items():
            dropped[reason] += count
        return Statistics(
            submitted=ledger.submitted + waiting + sum(refused.values()),
            delivered=ledger.delivered,
            dropped=MappingProxyType(dropped),
            queued=len(self._queue) + waiting + self._backlog.pending,
            in_flight=ledger.in_flight,
            held=MappingProxyType(self._worker.held()),
            recovered=self._backlog.recovered,
            spooled=self._backlog.spooled,
            peak_queued=self._queue.peak,
            queued_bytes=self._queue.bytes,
            oldest_age=self._queue.oldest_age,
            requests=self._endpoint.requests,
            failed_requests=self._worker.failed_requests,
            callback_errors=ledger.callback_errors,
        )

    async def flush(self, timeout: float) -> bool:  # noqa: ASYNC109 -- the outcome of running out of time is an answer, not an error
        """Wait until everything that was submitted before has been delivered or given up.

        Args:
            timeout: How long to wait at most, in seconds.

        Returns:
            Whether everything was delivered: nothing is left, and nothing was dropped since the last flush.  What is left when
            the time is over stays queued.

        Raises:
            ConfigError: ``timeout`` is negative or no number; nothing was waited for.
        """
        _check_seconds("timeout", timeout, least=0.0)
        self._inbox.let_in()
        outstanding = len(self._queue) + self._backlog.pending + self._ledger.in_flight
        with trio.move_on_after(timeout):
            return await self._ledger.flush(self._ledger.submitted, outstanding)
        return False

    # Entering and leaving

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        require_trio("Client")
        if self._entered:
            raise ClientStateError("a Client can be entered only once")
        converter()  # now, not under the first frame
        await self._backlog.open()
        self._entered = True
        self._queue.open()
        self._nursery = trio.open_nursery()
        nursery = await self._nursery.__aenter__()
        try:
            with trio.CancelScope(shield=True):
                await self._endpoint.open()
                # Not nursery.start(): where a Ctrl-C interrupts that, it waits for the task, which is shielded, for ever.
                nursery.start_soon(self._run)
                await self._running.wait()
        except BaseException:  # a Ctrl-C, which no shield holds off
            self._queue.close()
            await self._end()
            raise
        self._thread = threading.get_ident()
        self._inbox.open(trio.lowlevel.current_trio_token(), self.submit)
        return self

    @trio.lowlevel.enable_ki_protection
    async def _run(self) -> None:
        """Run the workers, out of reach of what cancels the block: it is leaving that ends them."""
        try:
            with self._delivering:
                async with trio.open_nursery() as service:
                    await service.start(self._backlog.run)
                    try:
                        async with trio.open_nursery() as workers:
                            for _ in range(self._concurrency):
                                await workers.start(self._worker.run)
                            self._running.set()
                    finally:
                        self._worker.close()
                    service.cancel_scope.cancel()
        finally:
            self._running.set()
            self._finished.set()

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(self, *_: object) -> None:
        began = monotonic()
        self._inbox.close()
        before = self._ledger.delivered, dict(self._ledger.dropped)
        self._queue.close()
        self._worker.leave()
        try:
            with trio.move_on_after(self._drain_timeout, shield=True):
                await self._finished.wait()
        finally:
            try:
                await self._end()
            finally:
                self._report = self._drain_report(before, monotonic() - began)

    async def _end(self) -> None:
        """Stop the workers, then close what they used."""
        self._delivering.cancel()
        try:
            # The nursery does not learn of the block's exception: it would wrap it in a group.
            await self._nursery.__aexit__(None, None, None)
        except BaseExceptionGroup as group:
            # Only what is no Exception gets past a worker, such as a Ctrl-C that hit a task of the HTTP client.
            raise _leaf(group) from None
        finally:
            await self._backlog.close()
            await self._endpoint.aclose()

    def _drain_report(self, before: tuple[int, dict[DropReason, int]], duration: float) -> DrainReport:
        delivered, dropped = before
        lost = {reason: count - dropped[reason] for reason, count in self._ledger.dropped.items() if count > dropped[reason]}
        report = DrainReport(
            delivered=self._ledger.delivered - delivered,
            dropped=MappingProxyType(lost),
            spooled=self._backlog.pending,
            duration=duration,
            timed_out=DropReason.DRAIN_TIMEOUT in lost,
        )
        if lost:
            reasons = ", ".join(f"{count} {reason.value}" for reason, count in lost.items())
            logger.warning("left %s with operations lost: %s", self._endpoint.name, reasons)
        return report


def _plain(workspace: object) -> str:
    """A text of another class as plain text: what it would do as a key is its own affair."""
    if not isinstance(workspace, str):
        raise TypeError
    return str.__str__(workspace)


def _leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _leaf(first) if isinstance(first, BaseExceptionGroup) else first


def _check_whole(least: int, **values: object) -> None:
    for name, value in values.items():
        if type(value) is not int or value < least:
            raise ConfigError(name, f"must be a whole number of at least {least}")


def _check_seconds(name: str, value: object, *, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
        raise ConfigError(
            name, "must be a number of seconds, greater than 0" if least else "must be a number of seconds, not negative"
        )
