"""Step 6: metrics sent as OTLP, at an interval and once more at the end."""

from __future__ import annotations

import gzip
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final, Self

import httpx
import trio

from trio_oplog._address import check_url
from trio_oplog._delivery import Content, Endpoint, is_page, name_status
from trio_oplog._metrics.model import Metric
from trio_oplog._otlp import PROTOBUF, check_headers, load_encoding, signal_address

_log: Final = logging.getLogger("trio_oplog")

INTERVAL: Final = 60.0
"""OpenTelemetry's default, in seconds."""


class MetricsPusher:
    """Sends metrics to a receiver of OTLP as long as its block lasts.

    What was not taken is not sent again: the next metrics say more.  Enter and leave it in the same task, once.

    Args:
        url: The receiver; ``/v1/metrics`` is added where the path is another.
        collect: The metrics of the moment in which it is called.
        headers: Sent with each request.  They are in no log line.
        resource: Who has the metrics, as attributes of OpenTelemetry.
        interval: The time between two requests, in seconds.
        timeout: How long one request may take, and so the end of the block, in seconds.
        ca_file: As that of a ``Client``.
        http: As that of a ``Client``.

    Raises:
        ConfigError: A value is wrong, or the extra ``otlp`` is not installed; the error names it.
    """

    def __init__(
        self,
        url: str,
        collect: Callable[[], Iterable[Metric]],
        *,
        headers: Mapping[str, str],
        resource: Mapping[str, str],
        interval: float = INTERVAL,
        timeout: float = 5.0,
        ca_file: Path | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self.problem = ""
        load_encoding()  # or say that the extra is missing
        self._metrics_body = import_module("trio_oplog._metrics.encoding").metrics_body
        self._collect = collect
        self._resource = resource
        self._interval = interval
        self._timeout = timeout
        address = signal_address(check_url(url), "metrics")
        self._endpoint = Endpoint(address, {"Accept-Encoding": "gzip", **check_headers(headers)}, http, timeout, ca_file)
        self._start = time.time_ns()

    async def __aenter__(self) -> Self:
        await self._endpoint.open()
        self._opened = trio.open_nursery()
        self._nursery = await self._opened.__aenter__()
        self._nursery.start_soon(self._run)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._nursery.cancel_scope.cancel()
        # The nursery does not learn of the block's exception: it would wrap it in a group.
        await self._opened.__aexit__(None, None, None)
        with trio.CancelScope(shield=True):  # the endpoint has a timeout
            await self.push()
            await self._endpoint.aclose()

    async def _run(self) -> None:
        while True:
            await trio.sleep(self._interval)
            await self.push()

    async def push(self) -> None:
        """Send the metrics of this moment."""
        body = self._metrics_body(self._collect(), self._resource, start=self._start, now=time.time_ns())
        packed = gzip.compress(body, 1, mtime=0)
        content = Content(data=packed, content_type=PROTOBUF, content_encoding="gzip", needs_answer=False)
        reply = await self._endpoint.post(content)
        problem = reply.problem
        if reply.status is not None and (not 200 <= reply.status < 300 or is_page(reply)):
            problem = name_status(reply)
        if problem != self.problem:
            self.problem = problem
            _log.warning("%s %s", self._endpoint.name, f"takes no metrics ({problem})" if problem else "takes metrics again")
