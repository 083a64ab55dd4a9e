"""``--to otlp+http://...`` and ``--metrics``: what the programs send to receivers of OTLP, and show to Prometheus."""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from click.testing import CliRunner
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families
from websockets.trio.client import connect

from tests.cli.test_gateway import ANSWER, gateway
from tests.cli.test_gateway import CALL as CALL_TEXT
from tests.cli.test_wrap import CALL, ECHO, PYTHON, run, stored
from tests.http import PATIENCE
from tests.otlp.expecting import plain_attributes
from tests.otlp.receiver import base, content, log_records, spans
from trio_oplog._cli import main
from trio_oplog.testing import FaultyEndpoint, Respond

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACED = json.dumps(
    {
        "id": 1,
        "method": "tools/call",
        "params": {"name": "echo", "arguments": {"a": "p4yload"}, "_meta": {"traceparent": f"00-{TRACE}-{PARENT}-01"}},
    }
).encode()


def wrapping(*options: str) -> list[str]:
    return [sys.executable, "-m", "trio_oplog", "wrap", *options, "--", *PYTHON, ECHO]


def environment(**variables: str) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}, **variables}


async def test_a_store_and_a_receiver_get_every_call_each_with_an_account_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "headers").write_text("# for the receiver\n\nAuthorization: Bearer k3y\n")
    store = tmp_path / "log.sqlite3"
    async with FaultyEndpoint() as endpoint:
        options = ["--to", f"sqlite:///{store}", "--to", f"otlp+{base(endpoint)}", "--otlp-headers", str(tmp_path / "headers")]
        variables = {
            "OTEL_SERVICE_NAME": "workshop",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=t%C3%A9st",
            "OTEL_EXPORTER_OTLP_HEADERS": "x-other=1",
        }
        done = await run(wrapping(*options), TRACED + b"\n", env=environment(**variables))
    assert (done.stdout, done.stderr, done.returncode) == (b'{"id": 1, "result": {"content": []}}\n', b"", 0)
    (request,) = endpoint.requests
    assert request.target == "/v1/traces"
    assert request.headers["authorization"] == "Bearer k3y"
    assert "x-other" not in request.headers
    data = content(request.headers, request.body)
    assert b"p4yload" not in data
    (sent,) = ExportTraceServiceRequest.FromString(data).resource_spans
    assert plain_attributes(sent.resource.attributes) == {"service.name": "workshop", "deployment.environment.name": "tést"}
    (span,) = spans(endpoint.requests)
    assert (span.name, span.kind) == ("tools/call echo", 3)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    (operation,) = await stored(store)
    assert plain_attributes(span.attributes)["trio_oplog.operation.id"] == operation["id"]


async def test_log_records_payloads_and_headers_of_the_environment(tmp_path: Path) -> None:
    async with FaultyEndpoint() as endpoint:
        options = ["--to", f"otlp+{base(endpoint)}/v1/logs", "--otlp-payloads"]
        variables = {"OTEL_EXPORTER_OTLP_HEADERS": "x-key=k%203y", "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}
        done = await run(wrapping(*options), TRACED + b"\n", env=environment(**variables))
    assert (done.stderr, done.returncode) == (b"", 0)
    (request,) = endpoint.requests
    assert (request.target, request.headers["x-key"]) == ("/v1/logs", "k 3y")
    assert "content-encoding" not in request.headers
    (record,) = log_records(endpoint.requests)
    assert plain_attributes(record.attributes)["gen_ai.tool.call.arguments"] == '{"a": "p4yload"}'


async def test_a_receiver_that_refuses_costs_its_own_records_only(tmp_path: Path) -> None:
    store = tmp_path / "log.sqlite3"
    async with FaultyEndpoint() as endpoint:
        endpoint.behaviour = Respond(status=400)
        done = await run(wrapping("--to", f"sqlite:///{store}", "--to", f"otlp+{base(endpoint)}"), CALL, env=environment())
        said = f"trio-oplog: {base(endpoint)}/v1/traces: operations were lost (1 rejected): HTTP 400\n"
    assert done.stdout == b'{"id": 1, "result": {"content": []}}\n'
    assert done.stderr.decode().endswith(said)
    assert len(await stored(store)) == 1


async def test_a_store_that_cannot_be_opened_costs_a_receiver_nothing(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"no database" * 1000)
    async with FaultyEndpoint() as endpoint:
        done = await run(wrapping("--to", f"sqlite:///{tmp_path}/log", "--to", f"otlp+{base(endpoint)}"), CALL, env=environment())
    assert done.stderr.count(b"\n") == 1
    assert b"nothing is recorded there" in done.stderr
    assert len(spans(endpoint.requests)) == 1


def metrics_in(endpoint: FaultyEndpoint) -> list[dict[str, Any]]:
    """The metrics of each request, by their names."""
    found = []
    for request in endpoint.requests:
        assert request.target == "/v1/metrics"
        (sent,) = ExportMetricsServiceRequest.FromString(gzip.decompress(request.body)).resource_metrics
        found.append({metric.name: metric for metric in sent.scope_metrics[0].metrics})
    return found


async def test_metrics_alone_come_with_the_users_own_store(tmp_path: Path) -> None:
    async with FaultyEndpoint() as endpoint:
        variables = {"XDG_STATE_HOME": str(tmp_path), "OTEL_METRIC_EXPORT_INTERVAL": "600000"}
        done = await run(wrapping("--to", f"otlp+{base(endpoint)}/v1/metrics"), CALL, env=environment(**variables))
    assert (done.stderr, done.returncode) == (b"", 0)
    (metrics,) = metrics_in(endpoint)
    (point,) = metrics["mcp.client.operation.duration"].histogram.data_points
    assert point.count == 1
    assert plain_attributes(point.attributes)["gen_ai.tool.name"] == "echo"
    (point,) = metrics["trio_oplog.operations.submitted"].sum.data_points
    assert point.as_int == 1
    assert metrics["trio_oplog.calls.open"].gauge.data_points[0].as_int == 0
    assert len(await stored(tmp_path / "trio-oplog" / "operations.sqlite3")) == 1


async def read_line(stream: trio.abc.ReceiveStream) -> str:
    heard = b""
    while not heard.endswith(b"\n"):
        heard += await stream.receive_some(1)
    return heard.decode().strip()


async def test_prometheus_reads_the_metrics_of_a_gateway_on_a_port_of_their_own(tmp_path: Path) -> None:
    silent = "import sys\nfor line in sys.stdin: pass"
    arguments = [
        "--listen",
        "127.0.0.1:0",
        "--to",
        f"sqlite:///{tmp_path}/log",
        "--metrics",
        "127.0.0.1:0",
        "--",
        *PYTHON,
        silent,
    ]
    command = [sys.executable, "-m", "trio_oplog", "gateway", *arguments]
    variables = environment(OTEL_SERVICE_NAME="front")
    process = await trio.lowlevel.open_process(command, stderr=subprocess.PIPE, env=variables)
    assert process.stderr is not None
    with trio.fail_after(60):
        async with process.stderr:
            metrics = (await read_line(process.stderr)).removeprefix("metrics on ")
            url = (await read_line(process.stderr)).split()[-1]
            async with connect(url, proxy=None) as client, httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
                await client.send(CALL_TEXT)
                while (samples := read(await http.get(metrics)))["trio_oplog_calls_open"] != 1:  # noqa: ASYNC110 -- as below
                    await trio.sleep(0.01)
                assert samples["trio_oplog_connections_open"] == 1
                assert samples["target_info"] == 1
                assert "trio_oplog_operations_delivered_total" in samples
            while read(await get(metrics)).get("mcp_server_operation_duration_seconds_count") != 1:  # noqa: ASYNC110 -- another process
                await trio.sleep(0.01)
            process.terminate()
            assert await process.wait() == 0


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        return await http.get(url)


def read(response: httpx.Response) -> dict[str, float]:
    """The samples, by name; where there are several, the sum."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


async def test_a_gateway_says_at_its_end_what_each_destination_got(tmp_path: Path) -> None:
    async with FaultyEndpoint() as endpoint:
        arguments = ["--to", f"otlp+{base(endpoint)}", "--", *PYTHON, ECHO]
        async with gateway(tmp_path / "log", *arguments) as running, connect(running.url, proxy=None) as client:
            await client.send(CALL_TEXT)
            assert await client.recv() == ANSWER
    delivered = f"1 delivered to sqlite:///{tmp_path}/log, 1 delivered to {base(endpoint)}/v1/traces"
    assert running.said == f"1 connection, 0 refused, 1 operation, {delivered}\n"
    (span,) = spans(endpoint.requests)
    assert span.kind == 2


HOST = "otlp+http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("options", "variables", "problem"),
    [
        (["--to", "otlp+ftp://x"], {}, "The destination must be http(s)://..., otlp+http(s)://..., postgresql://... or sqlite"),
        (["--to", "otlp+http://"], {}, "must be an http or https URL with a host"),
        (["--to", "sqlite:///a", "--to", "sqlite:///b"], {}, "Only one of the destinations may be a store"),
        (["--to", HOST, "--otlp-headers", "/nowhere/at/all"], {}, "/nowhere/at/all cannot be read"),
        (["--to", HOST, "--otlp-headers", "{folder}/no-text"], {}, "/no-text must be 'Name: value'"),
        (["--to", HOST, "--otlp-headers", "{folder}/no-colon"], {}, "line 1 of"),
        (["--to", HOST, "--otlp-headers", "{folder}/odd"], {}, "line 1 of"),
        (["--to", HOST, "--otlp-headers", "{folder}/accent"], {}, "/accent must have values that an HTTP header can hold"),
        (["--to", HOST], {"OTEL_EXPORTER_OTLP_HEADERS": "k3y"}, "The variable OTEL_EXPORTER_OTLP_HEADERS must be a list"),
        (["--to", HOST], {"OTEL_EXPORTER_OTLP_COMPRESSION": "br"}, "OTEL_EXPORTER_OTLP_COMPRESSION must be gzip or none"),
        (["--to", f"{HOST}/v1/metrics"], {"OTEL_METRIC_EXPORT_INTERVAL": "x"}, "OTEL_METRIC_EXPORT_INTERVAL must be a whole"),
        (["--to", HOST, "--to", HOST], {}, "http://127.0.0.1:9/v1/traces is named twice"),
        (["--metrics", "9464"], {}, "must be HOST:PORT, such as 127.0.0.1:9464"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_without_a_secret(
    options: Sequence[str], variables: dict[str, str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no-text").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "no-colon").write_text("k3y\n")
    (tmp_path / "accent").write_text("a: k3y\u00e9\n", encoding="latin-1")
    (tmp_path / "odd").write_text("a b: k3y\n")
    for name, value in {"XDG_STATE_HOME": str(tmp_path), **variables}.items():
        monkeypatch.setenv(name, value)
    chosen = [option.format(folder=tmp_path) for option in options]
    done = CliRunner().invoke(main, ["gateway", "--listen", "127.0.0.1:0", *chosen, "--", "cat"])
    assert done.exit_code == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert problem in done.stderr
    assert "k3y" not in done.stderr


async def test_a_port_for_metrics_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        options = ["--listen", "127.0.0.1:0", "--to", f"sqlite:///{tmp_path}/log", "--metrics", address, "--", "cat"]
        done = await run([sys.executable, "-m", "trio_oplog", "gateway", *options])
    assert (done.stderr.decode(), done.returncode) == (f"trio-oplog: cannot listen on {address}: Address already in use\n", 1)


def test_what_cannot_show_operations_is_no_destination_of_a_list() -> None:
    done = CliRunner().invoke(main, ["list", "--from", HOST])
    assert done.exit_code == 2
