"""(h) Operations a second as OTLP, beside OpenTelemetry's own SDK, which exports as many equal spans to the same receiver.

Both take turns in one run.  What is timed is the whole way of one batch after the other: from handing the first operation (ending
the first span) to the receiver's last answer.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trio

from benchmarks.delivery import operations
from benchmarks.measure import Row, show
from benchmarks.servers import running
from trio_oplog import Client, Operation, Otlp, Spool

MANY = 20_000
BATCH = 500
ROUNDS = 5
GOAL = 20_000


async def ours(base: str, ready: list[Operation], **options: Any) -> float:
    """Operations a second."""
    otlp = Otlp(compression=options.pop("compression", None))
    async with Client(
        base, capacity=len(ready), protocol=otlp, batch_size=BATCH, concurrency=2, queue_bytes=1 << 40, **options
    ) as client:
        began = time.perf_counter()
        for at in range(0, len(ready), BATCH):
            for operation in ready[at : at + BATCH]:
                client.submit(operation)
            await trio.lowlevel.checkpoint()
        assert await client.flush(120)
        return len(ready) / (time.perf_counter() - began)


def theirs(base: str, ready: list[Operation], *, gzip: bool = False) -> float:
    """Spans a second of the SDK's BatchSpanProcessor, with the attributes that ours have."""
    from opentelemetry.exporter.otlp.proto.http import Compression  # noqa: PLC0415 -- only this benchmark needs it
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    compression = Compression.Gzip if gzip else Compression.NoCompression
    exporter = OTLPSpanExporter(endpoint=f"{base}/v1/traces", compression=compression)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=2 * len(ready), max_export_batch_size=BATCH, schedule_delay_millis=100)
    )
    tracer = provider.get_tracer("trio_oplog")
    began = time.perf_counter()
    for operation in ready:
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "trio_oplog.operation.id": operation.id,
            "trio_oplog.workspace.id": operation.workspace_id,
            "trio_oplog.source": operation.source,
            "trio_oplog.env.id": operation.env_id,
            "gen_ai.tool.name": operation.tool,
            "gen_ai.conversation.id": operation.thread_id or "",
            "mcp.method.name": "tools/call",
            "jsonrpc.request.id": operation.request_id or "",
        }
        span = tracer.start_span(f"tools/call {operation.tool}", kind=SpanKind.SERVER, attributes=attributes)
        span.end()
    assert provider.force_flush(120_000)
    took = time.perf_counter() - began
    provider.shutdown()
    return len(ready) / took


def run() -> bool:
    """Print the table."""
    ready = operations(MANY)
    best: dict[str, float] = {}

    def note(name: str, rate: float) -> None:
        best[name] = max(best.get(name, 0.0), rate)

    with TemporaryDirectory() as folder, running("otlp") as url:
        base = url.removesuffix("/internal/operations")
        for turn in range(ROUNDS):
            note("theirs", theirs(base, ready))
            note("ours", trio.run(lambda: ours(base, ready)))
            note("theirs, gzip", theirs(base, ready, gzip=True))
            note("ours, gzip", trio.run(lambda: ours(base, ready, compression="gzip")))
            spool = Spool(Path(folder) / f"spool-{turn}.sqlite3")
            note("ours, spool", trio.run(lambda spool=spool: ours(base, ready, spool=spool)))

    def row(name: str, mine: str, other: str, bound: str = "") -> Row:
        return Row(name, f"{best[mine]:,.0f}/s", f"{best[other]:,.0f}/s SDK", best[mine] / best[other], bound)

    goal = Row(f"... of the goal of {GOAL:,}/s", f"{best['ours']:,.0f}/s", f"{GOAL:,}/s", best["ours"] / GOAL, ">= 1")
    rows = [
        row("spans in batches of 500", "ours", "theirs"),
        goal,
        row("... with gzip", "ours, gzip", "theirs, gzip"),
        row("... with a spool, which the SDK has not", "ours, spool", "theirs"),
    ]
    return show("(h) Operations a second as OTLP, against OpenTelemetry's BatchSpanProcessor and the same receiver", rows)
