"""Operations delivered as OTLP over real sockets: what arrives, what an answer does, and the account of it."""

from __future__ import annotations

import gzip
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.conftest import PAYLOAD
from tests.otlp.expecting import (
    expected_log_record,
    expected_span,
    plain_attributes,
    plain_log_record,
    plain_span,
)
from tests.otlp.receiver import base, content, ids, log_records, partial_success, spans, spans_in
from tests.otlp.strategies import full_operations
from tests.otlp.test_mapping import FULL, document_of
from trio_oplog import Client, DropReason, Operation, Otlp, Retry, Spool, __version__
from trio_oplog._delivery.spool_inspect import export, files, status
from trio_oplog.testing import FaultyEndpoint, Hang, Reset, Respond

QUICK = Retry(base_delay=0.001, max_delay=0.01)
PROTOBUF = ("Content-Type", "application/x-protobuf")
KEY = "k3y-to-be-seen-nowhere"


def balanced(client: Client) -> bool:
    now = client.statistics()
    return now.submitted == now.delivered + sum(now.dropped.values()) + now.queued + now.in_flight


def account(client: Client) -> dict[str, int]:
    """What became of everything, where it is more than nothing."""
    now = client.statistics()
    counts = {"delivered": now.delivered, **{reason.value: count for reason, count in now.dropped.items()}}
    return {name: count for name, count in counts.items() if count}


def by_id(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(found, key=lambda one: one["span_id"])


@given(st.lists(full_operations(), min_size=1, max_size=6, unique_by=lambda call: call.id), st.integers(1, 4), st.booleans())
@settings(max_examples=30)
def test_what_arrives_says_what_was_submitted(calls: list[Operation], batch_size: int, payloads: bool) -> None:
    async def deliver(signal: str, compression: str | None) -> FaultyEndpoint:
        otlp = Otlp(signal=signal, kind="client", payloads=payloads, compression=compression)
        async with (
            FaultyEndpoint() as endpoint,
            Client(base(endpoint), protocol=otlp, batch_size=batch_size, concurrency=1) as client,
        ):
            for call in calls:
                client.submit(call)
            assert await client.flush(60)
        return endpoint

    endpoint = trio.run(deliver, "traces", "gzip")
    assert {request.target for request in endpoint.requests} == {"/v1/traces"}
    # In any order, since workspaces take turns.
    expected = [expected_span(*document_of(call), "client", payloads=payloads) for call in calls]
    assert by_id([plain_span(span) for span in spans(endpoint.requests)]) == by_id(expected)
    endpoint = trio.run(deliver, "logs", None)
    assert {request.target for request in endpoint.requests} == {"/v1/logs"}
    records = [expected_log_record(*document_of(call), payloads=payloads) for call in calls]
    assert by_id([plain_log_record(record) for record in log_records(endpoint.requests)]) == by_id(records)


async def test_a_request_is_what_the_specification_wants(make_operation: Callable[..., Operation]) -> None:
    otlp = Otlp(headers={"Authorization": "Basic YTpi"}, resource={"service.name": "gateway"})
    async with FaultyEndpoint() as endpoint, Client(base(endpoint), protocol=otlp, batch_size=10) as client:
        for _ in range(3):
            client.submit(make_operation())
        assert await client.flush(60)
    (request,) = endpoint.requests
    assert (request.method, request.target) == ("POST", "/v1/traces")
    wanted = {"authorization": "Basic YTpi", "accept-encoding": "gzip", "content-encoding": "gzip"}
    assert wanted.items() <= request.headers.items()
    assert "x-internal-secret" not in request.headers
    (sent,) = ExportTraceServiceRequest.FromString(content(request.headers, request.body)).resource_spans
    assert plain_attributes(sent.resource.attributes) == {"service.name": "gateway"}
    (scope,) = sent.scope_spans
    assert (scope.scope.name, scope.scope.version, len(scope.spans)) == ("trio_oplog", __version__, 3)


async def test_no_byte_of_a_payload_is_sent_unless_it_is_asked_for(make_operation: Callable[..., Operation]) -> None:
    for payloads in (False, True):
        otlp = Otlp(payloads=payloads)
        async with FaultyEndpoint() as endpoint, Client(base(endpoint), protocol=otlp) as client:
            client.submit(make_operation())
            assert await client.flush(60)
        (request,) = endpoint.requests
        assert (PAYLOAD.encode() in content(request.headers, request.body)) is payloads


class Receiver:
    """A receiver in this process that decides by what it is sent; for virtual time."""

    def __init__(self, decide: Callable[[list[str]], httpx.Response | Awaitable[httpx.Response]]) -> None:
        self.decide = decide
        self.asked: list[list[str]] = []
        self.spans: dict[str, list[bytes]] = {}

    async def answer(self, request: httpx.Request) -> httpx.Response:
        found = spans_in(content(request.headers, request.content))
        self.asked.append(ids(found))
        decided = self.decide(self.asked[-1])
        response = decided if isinstance(decided, httpx.Response) else await decided
        for name, span in zip(self.asked[-1], found, strict=True):
            self.spans.setdefault(name, []).append(span.SerializeToString())
        return response


@asynccontextmanager
async def delivering(receiver: Receiver, **options: Any) -> AsyncIterator[Client]:
    """A client of it; what was submitted is settled when the block ends."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(receiver.answer)) as http:
        chosen: dict[str, Any] = {"protocol": Otlp(), "http": http, "batch_size": 10, "concurrency": 1, "retry": QUICK, **options}
        async with Client("http://receiver", **chosen) as client:
            yield client
            await client.flush(3_600)
            assert balanced(client)


async def test_what_a_partial_success_rejects_is_counted_and_never_sent_again(
    make_operation: Callable[..., Operation], caplog: pytest.LogCaptureFixture
) -> None:
    dropped: list[str] = []
    receiver = Receiver(lambda _: httpx.Response(200, content=partial_success(2, "too old"), headers=[PROTOBUF]))
    async with delivering(receiver, on_drop=lambda call, _: dropped.append(call.id)) as client:
        for _ in range(5):
            client.submit(make_operation())
    assert receiver.asked == [["0", "1", "2", "3", "4"]]
    assert account(client) == {"delivered": 3, "rejected": 2}
    assert dropped == []
    assert client.last_error == "HTTP 200 with a partial success: too old"
    assert "refused 2 of 5 operations, and does not say which" in caplog.text


async def test_a_flush_knows_that_a_part_was_rejected(make_operation: Callable[..., Operation]) -> None:
    receiver = Receiver(lambda _: httpx.Response(200, content=partial_success(1), headers=[PROTOBUF]))
    async with delivering(receiver) as client:
        client.submit(make_operation())
        client.submit(make_operation())
        assert not await client.flush(60)
        assert account(client) == {"delivered": 1, "rejected": 1}


async def test_whoever_is_rejected_alone_is_told_by_name(make_operation: Callable[..., Operation]) -> None:
    dropped: list[tuple[str, DropReason]] = []
    receiver = Receiver(lambda names: httpx.Response(200, content=partial_success(len(names)), headers=[PROTOBUF]))
    async with delivering(receiver, on_drop=lambda call, reason: dropped.append((call.id, reason))) as client:
        client.submit(make_operation())
    assert dropped == [("0", DropReason.REJECTED)]


async def test_what_the_endpoint_remarks_is_logged_when_it_is_new(
    make_operation: Callable[..., Operation], caplog: pytest.LogCaptureFixture
) -> None:
    remarks = iter(["slow down", "slow down", "", "slow down"])
    receiver = Receiver(lambda _: httpx.Response(200, content=partial_success(0, next(remarks)), headers=[PROTOBUF]))
    async with delivering(receiver) as client:
        for _ in range(4):
            client.submit(make_operation())
            assert await client.flush(60)
    assert caplog.text.count("stored operations and says: slow down") == 2


async def test_a_record_that_cannot_be_read_costs_none_of_its_neighbours(
    make_operation: Callable[..., Operation],
) -> None:
    dropped: list[str] = []
    receiver = Receiver(lambda names: httpx.Response(400 if "3" in names else 200))
    async with delivering(receiver, on_drop=lambda call, _: dropped.append(call.id)) as client:
        for _ in range(8):
            client.submit(make_operation())
    assert account(client) == {"delivered": 7, "rejected": 1}
    assert dropped == ["3"]
    assert len(receiver.asked) < 12


@pytest.mark.parametrize("status_code", [500, 501, 408])
async def test_what_must_not_be_tried_again_is_not(make_operation: Callable[..., Operation], status_code: int) -> None:
    receiver = Receiver(lambda _: httpx.Response(status_code))
    async with delivering(receiver) as client:
        for _ in range(3):
            client.submit(make_operation())
    assert account(client) == {"rejected": 3}
    assert receiver.asked == [["0", "1", "2"]]


async def test_retry_after_is_waited_for(
    make_operation: Callable[..., Operation], autojump_clock: trio.testing.MockClock
) -> None:
    answers = iter([httpx.Response(429, headers={"Retry-After": "17"}), httpx.Response(503), httpx.Response(200)])
    receiver = Receiver(lambda _: next(answers))
    async with delivering(receiver, retry=Retry(base_delay=0.001, max_delay=0.01)) as client:
        began = trio.current_time()
        client.submit(make_operation())
        assert await client.flush(60)
        assert 17 <= trio.current_time() - began < 18
    assert account(client) == {"delivered": 1}


async def test_a_wrong_key_is_an_outage_with_a_name_and_costs_nothing(
    make_operation: Callable[..., Operation], autojump_clock: trio.testing.MockClock
) -> None:
    rotated = False
    receiver = Receiver(lambda _: httpx.Response(200 if rotated else 401))
    async with delivering(receiver, retry=Retry(time_limit=3_600, random=lambda: 0.5)) as client:
        client.submit(make_operation())
        await trio.sleep(600)
        assert not client.healthy
        assert client.last_error is not None
        assert client.last_error.startswith("HTTP 401")
        rotated = True
        assert await client.flush(120)
        assert client.healthy
    assert account(client) == {"delivered": 1}


async def test_a_login_page_is_no_success(
    make_operation: Callable[..., Operation], autojump_clock: trio.testing.MockClock
) -> None:
    answers = iter([httpx.Response(200, html="<html>Sign in</html>"), httpx.Response(200)])
    receiver = Receiver(lambda _: next(answers))
    async with delivering(receiver) as client:
        client.submit(make_operation())
    assert receiver.asked == [["0"], ["0"]]
    assert account(client) == {"delivered": 1}


async def test_a_body_that_is_too_large_is_halved_and_a_record_that_is_too_large_alone_is_dropped(
    make_operation: Callable[..., Operation],
) -> None:
    receiver = Receiver(lambda names: httpx.Response(413 if len(names) > 2 or "1" in names else 200))
    async with delivering(receiver, protocol=Otlp(payloads=True)) as client:
        for _ in range(4):
            client.submit(make_operation())
    assert account(client) == {"delivered": 3, "too_large": 1}


async def test_a_record_that_is_shrunk_is_written_anew(make_operation: Callable[..., Operation]) -> None:
    sizes: list[int] = []

    def decide(request: httpx.Request) -> httpx.Response:
        sizes.append(len(request.content))
        return httpx.Response(413 if len(request.content) > 10_000 else 200)

    async with httpx.AsyncClient(transport=httpx.MockTransport(decide)) as http:
        otlp = Otlp(payloads=True, compression=None)
        async with Client("http://receiver", protocol=otlp, http=http) as client:
            client.submit(make_operation(arguments=json.dumps("x" * 20_000).encode()))
            assert await client.flush(60)
    assert sizes[0] > 20_000
    assert sizes[1] < 2_000
    assert account(client) == {"delivered": 1}


async def test_an_operation_made_of_anything_costs_only_itself(make_operation: Callable[..., Operation]) -> None:
    receiver = Receiver(lambda _: httpx.Response(200))
    async with delivering(receiver) as client:
        wrong = make_operation()
        object.__setattr__(wrong, "tool", 7)  # which JSON can hold
        client.submit(wrong)
        assert not await client.flush(60)
        client.submit(wrong)
        client.submit(make_operation())
    assert receiver.asked == [["1"]]
    assert account(client) == {"delivered": 1, "invalid": 2}


async def test_a_compressed_answer_is_read(make_operation: Callable[..., Operation]) -> None:
    body = gzip.compress(partial_success(1))
    async with FaultyEndpoint() as endpoint:
        endpoint.script(Respond(status=200, headers=(PROTOBUF, ("Content-Encoding", "gzip")), body=body))
        async with Client(base(endpoint), protocol=Otlp()) as client:
            client.submit(make_operation())
            assert not await client.flush(60)
    assert account(client) == {"rejected": 1}


async def test_an_answer_that_inflates_without_end_is_cut(make_operation: Callable[..., Operation]) -> None:
    bomb = gzip.compress(bytes(40 * 1024 * 1024))
    async with FaultyEndpoint() as endpoint:
        endpoint.script(Respond(status=200, headers=(PROTOBUF, ("Content-Encoding", "gzip")), body=bomb))
        async with Client(base(endpoint), protocol=Otlp(), retry=QUICK) as client:
            client.submit(make_operation())
            assert not await client.flush(60)
    assert client.last_error == "HTTP 200 with an endless answer"
    assert account(client) == {"rejected": 1}


async def test_a_redelivered_operation_is_the_same_span(make_operation: Callable[..., Operation]) -> None:
    async with FaultyEndpoint() as endpoint:
        endpoint.script(
            Reset(), Respond(status=503), Respond(status=200, headers=(("Content-Encoding", "gzip"),), body=b"no gzip")
        )
        async with Client(base(endpoint), protocol=Otlp(), batch_size=10, retry=QUICK, concurrency=1) as client:
            client.submit(make_operation())
            client.submit(attrs.evolve(FULL, id="full"))
            assert await client.flush(60)
    assert len(endpoint.requests) == 4
    sent = [
        [(span.trace_id, span.span_id, span.SerializeToString()) for span in spans([request])] for request in endpoint.requests
    ]
    assert sent[0] == sent[1] == sent[2] == sent[3]
    assert account(client) == {"delivered": 2}


async def test_neither_a_header_nor_a_payload_is_in_a_log(
    make_operation: Callable[..., Operation], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    quoting = partial_success(1, f"the key {KEY} may not send {PAYLOAD}")
    async with FaultyEndpoint() as endpoint:
        endpoint.script(
            Respond(status=503, body=quoting),
            Respond(status=200, headers=(PROTOBUF,), body=partial_success(0, f"{KEY}, {PAYLOAD}")),
            Respond(status=200, headers=(PROTOBUF,), body=quoting),
            Respond(status=400, body=quoting),
        )
        otlp = Otlp(headers={"x-key": KEY}, payloads=True)
        async with Client(base(endpoint), protocol=otlp, retry=QUICK, concurrency=1) as client:
            for _ in range(3):
                client.submit(make_operation())
                await client.flush(60)
    assert len(endpoint.requests) == 4
    assert KEY not in caplog.text
    assert PAYLOAD not in caplog.text


OUTAGE = 600
RATE = 20


@pytest.mark.once
async def test_an_outage_of_ten_minutes_costs_a_spool_nothing(
    make_operation: Callable[..., Operation], tmp_path: Path, autojump_clock: trio.testing.MockClock, disk_time: None
) -> None:
    down = False

    async def decide() -> httpx.Response:
        await trio.sleep(0.01)
        if down:
            raise httpx.ConnectError("refused")
        return httpx.Response(200)

    receiver = Receiver(lambda _: decide())
    spool = Spool(tmp_path / "spool.sqlite3")
    options: dict[str, Any] = {
        "batch_size": 100,
        "retry": Retry(random=lambda: 0.5),
        "capacity": 40_000,
        "drain_timeout": 3_600,
    }
    async with delivering(receiver, spool=spool, **options) as client:
        for second in range(OUTAGE + 20):
            down = 10 <= second < 10 + OUTAGE
            for _ in range(RATE):
                client.submit(make_operation())
            await trio.sleep(1)
        assert balanced(client)
        total = RATE * (OUTAGE + 20)
        assert await client.flush(600)
    assert account(client) == {"delivered": total}
    assert sorted(map(int, receiver.spans)) == list(range(total))
    assert all(len(set(sent)) == 1 for sent in receiver.spans.values())
    assert status(spool.path).waiting == 0


async def test_what_a_killed_process_had_committed_arrives_as_the_same_spans(tmp_path: Path) -> None:
    folder, journal = tmp_path / "spool", tmp_path / "journal"
    program = Path(__file__).parents[1] / "kill" / "submit.py"

    async def start(first: str) -> trio.Process:
        command = [sys.executable, str(program), base(endpoint), str(folder), str(journal), first, "otlp"]
        return await trio.lowlevel.open_process(command, stdout=subprocess.DEVNULL)

    async with FaultyEndpoint() as endpoint:
        with trio.fail_after(120):
            victim = await start("0")
            await endpoint.wait_for_requests(5)
            # Stored, as far as the endpoint is concerned; the client never hears of it.
            endpoint.behaviour = Hang()
            asked = len(endpoint.requests)
            await endpoint.wait_for_requests(asked + 1)
            (spool,) = files(folder)
            while not status(spool).waiting:  # noqa: ASYNC110 -- another process sets no event of ours
                await trio.sleep(0.01)
            victim.kill()
            await victim.wait()
            waiting = {json.loads(body)["id"] for body in export(spool)}
            assert waiting
            before = spans(endpoint.requests)
            endpoint.behaviour = Respond()
            drained = await start("drain")
            assert await drained.wait() == 0
    after = spans(endpoint.requests)[len(before) :]
    assert waiting <= set(ids(after))
    # Nothing is missing up to the last one that was committed, and that is all that the last life knew to be.
    arrived = sorted({int(name) for name in ids(before + after)})
    assert arrived == list(range(len(arrived)))
    last = journal.read_text().splitlines()[-1].split()
    assert len(arrived) >= int(last[2])
    first_time = {name: span.SerializeToString() for name, span in zip(ids(before), before, strict=True)}
    again = [(name, span) for name, span in zip(ids(after), after, strict=True) if name in first_time]
    assert again
    assert all(span.SerializeToString() == first_time[name] for name, span in again)
    assert not any(status(left).waiting for left in files(folder))
