"""Metrics sent as OTLP while a program runs, and once more at its end."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import trio
import trio.testing
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from trio_oplog import ConfigError
from trio_oplog._metrics import Counter, Metric, MetricsPusher, Point


def pusher(http: httpx.AsyncClient, collect: Callable[[], list[Metric]], **options: Any) -> MetricsPusher:
    chosen: dict[str, Any] = {"headers": {"x-key": "k3y"}, "resource": {"service.name": "s"}, "interval": 10.0, **options}
    return MetricsPusher("http://receiver:4318", collect, http=http, **chosen)


def counted(count: int) -> list[Metric]:
    return [Counter(name="trio_oplog.requests", unit="{request}", help="Requests.", points=[Point(count)])]


async def test_metrics_are_sent_at_an_interval_and_at_the_end(autojump_clock: trio.testing.MockClock) -> None:
    numbers = iter(range(1, 100))
    requests: list[tuple[float, httpx.Request]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append((trio.current_time() - began, request))
        return httpx.Response(200)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        began = trio.current_time()
        async with pusher(http, lambda: counted(next(numbers))):
            await trio.sleep(25)
    assert [at for at, _ in requests] == [10, 20, 25]
    sent = [ExportMetricsServiceRequest.FromString(gzip.decompress(request.content)) for _, request in requests]
    points = [body.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points[0] for body in sent]
    assert [point.as_int for point in points] == [1, 2, 3]
    assert len({point.start_time_unix_nano for point in points}) == 1
    assert points[0].start_time_unix_nano <= points[0].time_unix_nano <= points[2].time_unix_nano
    request = requests[0][1]
    assert (request.method, str(request.url)) == ("POST", "http://receiver:4318/v1/metrics")
    assert request.headers["x-key"] == "k3y"
    assert request.headers["content-type"] == "application/x-protobuf"


async def test_a_receiver_that_fails_is_said_once_and_so_is_its_return(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter(
        [
            httpx.Response(503),
            httpx.Response(503),
            httpx.Response(200, html="<html>"),
            httpx.ConnectError("k3y"),
            httpx.Response(200),
        ]
    )

    def answer(_: httpx.Request) -> httpx.Response:
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http, pusher(http, lambda: counted(1)):
        await trio.sleep(45)
    assert [message.partition(" ")[2] for message in caplog.messages] == [
        "takes no metrics (HTTP 503)",
        "takes no metrics (HTTP 200)",
        "takes no metrics (ConnectError)",
        "takes metrics again",
    ]
    assert "k3y" not in caplog.text


async def test_the_end_waits_for_a_receiver_no_longer_than_a_request_may_take(autojump_clock: trio.testing.MockClock) -> None:
    async def hang(_: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError

    began = trio.current_time()
    async with httpx.AsyncClient(transport=httpx.MockTransport(hang)) as http:
        with pytest.raises(LookupError):
            async with pusher(http, lambda: counted(1), timeout=3.0):
                await trio.sleep(11)  # in the middle of a request
                raise LookupError  # comes out as it is
    assert trio.current_time() - began == 14


async def test_a_pusher_of_ones_own_connection_reaches_a_real_receiver() -> None:
    from tests.otlp.receiver import base
    from trio_oplog.testing import FaultyEndpoint

    async with FaultyEndpoint() as endpoint, MetricsPusher(base(endpoint), lambda: counted(1), headers={}, resource={}):
        pass
    (request,) = endpoint.requests
    assert request.target == "/v1/metrics"


def test_wrong_values_are_named() -> None:
    with pytest.raises(ConfigError, match="url has a path for traces"):
        MetricsPusher("http://receiver/v1/traces", list, headers={}, resource={})
    with pytest.raises(ConfigError, match="headers"):
        MetricsPusher("http://receiver", list, headers={"a b": "c"}, resource={})
