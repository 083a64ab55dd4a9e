"""The fault matrix: what each failure of the endpoint does to the records, with real servers on loopback."""

from __future__ import annotations

import json
import logging
import socket
import struct
from email.utils import format_datetime

import httpx
import pytest
import trio
import trio.lowlevel
import trio.testing

from tests.http import http_client
from trio_oplog import Client, DropReason, Retry, Spool, WireError
from trio_oplog._delivery.protocol import Content
from trio_oplog._delivery.record import Record
from trio_oplog._delivery.request import Endpoint, pack
from trio_oplog._delivery.spool_file import SpoolFile
from trio_oplog._delivery.verdict import OUTAGES, Answer, Reply, Verdict, judge

QUICK = Retry(base_delay=0.001, max_delay=0.01)
LEFT_OUT = "HTTP 200 with an account that leaves records out"
MOMENT = 1_795_000_000.0


@pytest.fixture(autouse=True)
def nothing_leaks(caplog, secret, payload, capfd):
    """Neither the secret nor a payload is in any log line of any logger, in any row."""
    caplog.set_level(logging.DEBUG)
    yield
    for text in (caplog.text, *capfd.readouterr()):
        assert secret not in text
        assert payload not in text


async def reset(request):
    request.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await request.stream.aclose()


async def hang_up_at_once(request):
    await request.stream.aclose()


HANG = 60  # seconds, in which nobody is patient any more


async def hang(_):
    """Take time, and nothing else does: a busy machine must not look like a slow server.  For tests with ``time_flies``."""
    await trio.testing.wait_all_tasks_blocked()
    trio.lowlevel.current_clock().jump(HANG)
    await trio.sleep_forever()


def raw(data: bytes, *, then_hang: bool = False):
    async def answer(request):
        await request.stream.send_all(data)
        if then_hang:
            await hang(request)

    return answer


@pytest.fixture
def time_flies(mock_clock):
    """The clock goes, and a test may put it forward."""
    mock_clock.rate = 1.0
    return mock_clock


TRANSIENT = {
    "reset": reset,
    "hang up": hang_up_at_once,
    "hang": hang,
    "garbage": raw(b"\x00\xff garbage\r\n\r\n"),
    "half a head": raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "head without end": raw(b"HTTP/1.1 200 OK\r\n", then_hang=True),
    **{str(status): status for status in (408, 425, 429, 500, 502, 503, 504, 520, 522, 529, 530, 599)},
}


@pytest.mark.parametrize("fault", TRANSIENT)
@pytest.mark.parametrize("batch_size", [1, 10])
async def test_a_transient_fault_is_tried_again_until_it_is_over(
    server, secret, make_operation, respond, balanced, fault, batch_size, time_flies
):
    failures = [TRANSIENT[fault]] * 2
    server.then(*[respond(fault) if isinstance(fault, int) else fault for fault in failures])
    async with Client(server.url, secret, retry=QUICK, request_timeout=HANG, concurrency=1, batch_size=batch_size) as client:
        client.submit(make_operation())
        assert await client.flush(10 * HANG)
    assert server.stored == ["0"]
    assert len(server.requests) == 3
    assert client.statistics().failed_requests == 2
    assert client.dropped == 0
    assert balanced(client)
    assert secret not in repr(client)


async def test_a_refused_connection_is_tried_again_until_somebody_listens(secret, make_operation, server, caplog):
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    async with Client(f"http://127.0.0.1:{port}/", secret, retry=QUICK) as client:
        client.submit(make_operation())
        while client.healthy:
            await trio.lowlevel.checkpoint()
        assert client.last_error == "connection refused"
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_tcp, server.handle, port)
            assert await client.flush(60)
            nursery.cancel_scope.cancel()
    assert server.stored == ["0"]
    assert "does not take operations (connection refused)" in caplog.text
    assert "answers again after" in caplog.text


async def test_a_tls_failure_is_tried_again_and_says_what_it_is(server, secret, make_operation, balanced):
    url = server.url.replace("http:", "https:")
    async with Client(url, secret, retry=Retry(attempts=2, base_delay=0.001)) as client:
        client.submit(make_operation())
        assert not await client.flush(60)
    assert client.last_error == "TLS: the handshake failed"
    assert client.statistics().dropped[DropReason.FAILED] == 1
    assert client.statistics().requests == 2
    assert not server.requests
    assert balanced(client)


@pytest.mark.parametrize("status", [400, 415, 422])
async def test_a_verdict_on_a_record_that_was_sent_alone_rejects_it_at_once(
    server, secret, make_operation, respond, balanced, caplog, status
):
    server.then(respond(status, {"Location": "http://127.0.0.1:9/elsewhere"}))
    async with Client(server.url, secret) as client:
        client.submit(make_operation())
        assert not await client.flush(60)
        client.submit(make_operation())
    assert client.statistics().dropped[DropReason.REJECTED] == 1
    assert client.last_error == f"HTTP {status}"
    assert server.stored == ["1"]
    assert len(server.requests) == 2
    assert f"refused 1 operations (HTTP {status})" in caplog.text
    assert balanced(client)


async def test_a_redirect_is_not_followed_even_by_a_client_that_follows_them(server, secret, make_operation, respond, until):
    server.then(respond(307, {"Location": server.url + "/elsewhere"}))
    retry = Retry(base_delay=60, random=lambda: 1.0)
    async with (
        http_client(follow_redirects=True) as http,
        Client(server.url, secret, http=http, retry=retry, drain_timeout=0.1) as client,
    ):
        client.submit(make_operation())
        await until(lambda: client.last_error)
    assert len(server.requests) == 1
    assert client.statistics().dropped[DropReason.DRAIN_TIMEOUT] == 1
    assert client.last_error == "HTTP 307: redirected to another path"


@pytest.mark.parametrize("kind", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured(secret, make_operation, mock_http, status, kind, autojump_clock):
    from datetime import UTC, datetime, timedelta

    now = datetime.fromtimestamp(MOMENT, UTC)
    after = "30" if kind == "seconds" else format_datetime(now + timedelta(seconds=30), usegmt=True)
    retry = Retry(base_delay=0.001, max_delay=0.001, clock=lambda: MOMENT)
    times = []

    def answer(_):
        times.append(trio.current_time())
        return httpx.Response(status, headers={"Retry-After": after}) if len(times) == 1 else httpx.Response(200)

    async with mock_http(answer) as http, Client("http://x/", secret, http=http, retry=retry) as client:
        client.submit(make_operation())
        assert await client.flush(60)
    assert len(times) == 2
    assert 30 <= times[1] - times[0] < 31


async def test_a_slow_body_after_a_yes_does_not_hold_the_record_up(server, secret, make_operation, time_flies):
    server.then(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", then_hang=True))
    async with Client(server.url, secret, request_timeout=1.5 * HANG, concurrency=1) as client:
        client.submit(make_operation())
        client.submit(make_operation())
        assert await client.flush(10 * HANG)
    assert client.statistics().delivered == client.statistics().requests == 2
    assert server.stored == ["1"]


async def test_a_body_cut_short_after_a_yes_does_not_matter_to_one_record_but_to_a_batch(server, secret, make_operation):
    server.then(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"), raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"))
    async with Client(server.url, secret, retry=QUICK) as client:
        client.submit(make_operation())
    assert client.statistics().requests == 1
    async with Client(server.url, secret, retry=QUICK, batch_size=2) as client:
        client.submit(make_operation())
        client.submit(make_operation())
    assert client.statistics().failed_requests == 1
    assert server.stored == ["1", "2"]


async def test_an_answer_without_end_is_cut_off(server, secret, make_operation):
    async def flood(request):
        await request.stream.send_all(b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await request.stream.send_all(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")

    server.then(flood)
    async with Client(server.url, secret) as client:
        client.submit(make_operation())
        assert not await client.flush(60)
    assert client.statistics().dropped[DropReason.REJECTED] == 1


async def test_a_batch_is_one_document_a_line_and_is_answered_line_by_line(server, secret, make_operation, balanced):
    async def refuse_the_second(request):
        assert request.headers["content-type"] == "application/x-ndjson"
        ids = request.ids
        server.stored += [ids[0], *ids[2:]]
        refused = [{"line": 2, "id": ids[1], "error": "tool must not be empty"}]
        return response(json.dumps({"stored": [ids[0], *ids[2:]], "refused": refused}).encode())

    from functools import partial

    response = partial(type(await server.store(FakeRequest())), 200, {})
    server.stored.clear()
    server.then(refuse_the_second)
    async with Client(server.url, secret, batch_size=10) as client:
        for _ in range(5):
            client.submit(make_operation())
        assert not await client.flush(60)
        assert balanced(client)
    assert server.stored == ["0", "2", "3", "4"]
    assert len(server.requests) == 1
    assert client.statistics().dropped[DropReason.REJECTED] == 1


class FakeRequest:
    ids = ()


async def test_what_an_account_does_not_mention_is_sent_again(server, secret, make_operation, respond):
    server.then(respond(body=b'{"stored": ["0"]}'))
    async with Client(server.url, secret, batch_size=10, retry=QUICK) as client:
        for _ in range(3):
            client.submit(make_operation())
        assert await client.flush(60)
    assert [request.ids for request in server.requests] == [["0", "1", "2"], ["1", "2"]]


async def test_batches_keep_to_their_bounds(server, secret, make_operation):
    async with Client(server.url, secret, batch_size=4, batch_bytes=6_000, concurrency=1) as client:
        for _ in range(10):
            client.submit(make_operation())
        for _ in range(10):
            client.submit(make_operation(arguments=b'"' + b"x" * 1_000 + b'"'))
        client.submit(make_operation(arguments=b'"' + b"x" * 9_000 + b'"'))
    assert len(server.stored) == 21
    sizes = [(len(request.ids), len(request.body)) for request in server.requests]
    assert max(count for count, _ in sizes) == 4
    assert all(size <= 6_000 or count == 1 for count, size in sizes)


async def test_a_record_whose_text_holds_a_newline_goes_alone_as_json(server, secret, make_operation):
    async with Client(server.url, secret, batch_size=10, concurrency=1) as client:
        client.submit(make_operation())
        client.submit(make_operation(arguments=b'{\n"a": 1}'))
        client.submit(make_operation())
    kinds = {tuple(request.ids): request.headers["content-type"] for request in server.requests}
    assert kinds == {("0",): "application/x-ndjson", ("1",): "application/json", ("2",): "application/x-ndjson"}
    assert b'{\n"a": 1}' in server.requests[1].body


@pytest.mark.parametrize("says", [400, 415, b"OK", b"[]"])
async def test_an_endpoint_that_knows_no_batches_is_spoken_to_one_by_one_from_then_on(
    server, secret, make_operation, respond, caplog, balanced, says
):
    async def predecessor(request):
        if request.headers["content-type"] != "application/json":
            return respond(says) if isinstance(says, int) else respond(body=says)
        return await server.store(request)

    server.answer = predecessor
    async with Client(server.url, secret, batch_size=10, concurrency=2) as client:
        for _ in range(30):
            client.submit(make_operation())
        assert await client.flush(60)
        for _ in range(10):
            client.submit(make_operation())
        assert await client.flush(60)
        assert balanced(client)
    assert sorted(map(int, server.stored)) == list(range(40))
    assert caplog.text.count("takes no batches") == 1
    # Where the status says no more than that something was wrong, it takes two batches to tell, and each worker may send one.
    assert sum(request.headers["content-type"] != "application/json" for request in server.requests) <= 4


async def test_a_batch_under_way_when_another_courier_learns_it_goes_one_by_one(server, secret, make_operation, respond):
    both = trio.Event()

    async def predecessor(request):
        if request.headers["content-type"] == "application/json":
            return await server.store(request)
        if server.at_once == 2:
            both.set()
        await both.wait()
        # One is told that batches are unknown, the other to come again: with its batch.
        return respond(415 if "0" in request.ids else 503)

    server.answer = predecessor
    async with Client(server.url, secret, batch_size=5, concurrency=2, retry=QUICK) as client:
        for _ in range(5):
            client.submit(make_operation())
        await trio.testing.wait_all_tasks_blocked(0.01)
        for _ in range(5):
            client.submit(make_operation())
        assert await client.flush(60)
    assert sorted(map(int, server.stored)) == list(range(10))


async def test_a_body_that_is_too_large_is_halved(server, secret, make_operation, respond, balanced):
    async def small_only(request):
        return respond(413) if len(request.ids) > 2 else await server.store(request)

    server.answer = small_only
    async with Client(server.url, secret, batch_size=8, concurrency=1) as client:
        for _ in range(8):
            client.submit(make_operation())
        assert await client.flush(60)
        before = len(server.requests)
        for _ in range(4):
            client.submit(make_operation())
        assert await client.flush(60)
    assert sorted(map(int, server.stored)) == list(range(12))
    # What was learned is kept: no body is as large as the ones that were too large.
    assert all(len(request.ids) <= 3 for request in server.requests[before:])
    assert balanced(client)


async def test_a_single_record_that_is_too_large_is_shrunk_and_then_dropped(server, secret, make_operation, respond, balanced):
    async def tiny_only(request):
        return respond(413) if len(request.body) > limit else await server.store(request)

    server.answer = tiny_only
    limit = 600
    async with Client(server.url, secret) as client:
        client.submit(make_operation(arguments=b'"' + b"x" * 1_000 + b'"'))
        assert await client.flush(60)
        assert "arguments_meta" in server.requests[-1].documents[0]
        limit = 10
        client.submit(make_operation())
        assert not await client.flush(60)
    assert client.statistics().dropped[DropReason.TOO_LARGE] == 1
    assert server.stored == ["0"]
    assert balanced(client)


async def test_one_record_that_the_endpoint_fails_on_does_not_sink_its_neighbours(
    server, secret, make_operation, respond, balanced
):
    async def fail_on_five(request):
        return respond(500) if "5" in request.ids else await server.store(request)

    server.answer = fail_on_five
    async with Client(server.url, secret, batch_size=16, concurrency=1, retry=Retry(attempts=3, base_delay=0.001)) as client:
        for _ in range(16):
            client.submit(make_operation())
        assert not await client.flush(60)
    assert sorted(map(int, server.stored)) == [number for number in range(16) if number != 5]
    assert client.statistics().dropped[DropReason.FAILED] == 1
    assert balanced(client)


async def test_the_time_limit_of_a_record_ends_its_attempts(secret, make_operation, mock_http, balanced, autojump_clock):
    attempts = []

    def fail(_):
        attempts.append(trio.current_time())
        return httpx.Response(503)

    retry = Retry(time_limit=10, base_delay=0.2, max_delay=0.2, random=lambda: 0.5)
    async with mock_http(fail) as http, Client("http://x/", secret, http=http, retry=retry) as client:
        client.submit(make_operation())
        assert not await client.flush(60)
    # A pause is 0.1 s, and no attempt is made after the limit.
    assert len(attempts) == pytest.approx(100, abs=2)
    assert attempts[-1] - attempts[0] <= 10
    assert client.statistics().dropped[DropReason.FAILED] == 1
    assert balanced(client)


async def test_the_time_limit_counts_while_somebody_else_probes(secret, make_operation, mock_http, balanced, autojump_clock):
    retry = Retry(time_limit=5, base_delay=1, random=lambda: 0.5)
    async with (
        mock_http(lambda _: httpx.Response(503, headers={"Retry-After": "60"})) as http,
        Client("http://x/", secret, http=http, concurrency=3, retry=retry) as client,
    ):
        for _ in range(3):
            client.submit(make_operation())
        # Virtual time, and long before the endpoint wants to be asked again.
        with trio.fail_after(10):
            assert not await client.flush(30)
    assert client.statistics().dropped[DropReason.FAILED] == 3
    assert balanced(client)


async def test_requests_that_are_cut_off_do_not_poison_the_connections(server, secret, until, make_operation, balanced):
    """Dozens of timeouts and cancellations at every stage; then the server is well, and everything arrives at once."""
    well = False

    async def answer(request):
        if not well:
            await trio.sleep_forever()
        return await server.store(request)

    server.answer = answer
    async with Client(
        server.url, secret, request_timeout=0.01, retry=Retry(base_delay=0.001, max_delay=0.001, open_after=99)
    ) as client:
        for _ in range(50):
            client.submit(make_operation())
        await until(lambda: client.statistics().failed_requests >= 100)
        well = True
        client._endpoint._timeout = 60  # from here on a slow machine must not look like a slow server
        assert await client.flush(60)
        assert balanced(client)
    assert len(set(server.stored)) == 50


@pytest.mark.parametrize("cut", range(0, 40, 2))
async def test_a_request_cancelled_at_any_checkpoint_leaves_the_endpoint_usable(server, secret, cut):
    """Steps through one request, cutting it off at each of its first checkpoints."""

    class After(trio.abc.Instrument):
        left = cut

        def before_task_step(self, task):
            if task is trio.lowlevel.current_root_task() or task is not victim:
                return
            self.left -= 1
            if self.left == 0:
                scope.cancel()

    endpoint = Endpoint(httpx.URL(server.url), {"X-Internal-Secret": secret}, None, 60)
    victim = trio.lowlevel.current_task()
    with trio.CancelScope() as scope:
        instrument = After()
        trio.lowlevel.add_instrument(instrument)
        try:
            await endpoint.post(Content(data=b'{"id":"cut"}', content_type="application/json"))
        finally:
            trio.lowlevel.remove_instrument(instrument)
    for _ in range(3):
        reply = await endpoint.post(Content(data=b'{"id":"after"}', content_type="application/json"))
        assert reply.status == 200
    await endpoint.aclose()


async def test_whatever_a_transport_raises_is_a_failed_request(secret, make_operation, mock_http, payload):
    class OddError(Exception):
        pass

    def fail(request):
        raise OddError(payload, secret)

    async with mock_http(fail) as http, Client("http://x/", secret, http=http, retry=Retry(attempts=1)) as client:
        client.submit(make_operation())
        await client.flush(60)
    assert client.last_error == "OddError"


async def test_one_probe_at_a_time_goes_out_while_the_endpoint_is_down(secret, make_operation, mock_http, autojump_clock):
    down = True
    at_once = most_at_once = requests = stored = 0

    async def answer(_):
        nonlocal at_once, most_at_once, requests, stored
        requests += 1
        at_once += 1
        most_at_once = max(most_at_once, at_once)
        await trio.sleep(0.1)
        at_once -= 1
        stored += not down
        return httpx.Response(503 if down else 200)

    retry = Retry(base_delay=2, max_delay=2, open_after=2, random=lambda: 1.0)
    async with mock_http(answer) as http, Client("http://x/", secret, http=http, concurrency=8, retry=retry) as client:
        for _ in range(100):
            client.submit(make_operation())
        await trio.sleep(3)
        assert not client.healthy
        most_at_once = requests = 0
        await trio.sleep(20)
        assert most_at_once == 1
        assert 1 <= requests <= 11
        down = False
        assert await client.flush(60)
    assert stored == 100
    assert most_at_once == 8


def record(number, size=10):
    return Record(number, None, size, 0.0, b"x" * size, str(number))


def test_packing_keeps_order_and_bounds():
    records = [record(number) for number in range(7)]
    assert [[one.number for one in group] for group, _ in pack(records, 3, 10**6)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [len(group) for group, _ in pack(records, 10, 25)] == [2, 2, 2, 1]
    assert [batch for _, batch in pack(records[:1], 1, 100)] == [False]
    assert list(pack([], 1, 100)) == []


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        ({"stored": ["a", "b"], "refused": []}, Answer(Verdict.STORED)),
        ({"stored": ["b", "a"]}, Answer(Verdict.ACCOUNT, LEFT_OUT, {0, 1}, {})),
        (
            {"stored": ["a"], "refused": [{"line": 2, "id": None, "field": "tool"}]},
            Answer(Verdict.ACCOUNT, LEFT_OUT, {0}, {1: "HTTP 200 with an account: tool is wrong"}),
        ),
        (
            {"stored": [], "refused": [{"line": 0}, {"line": 3}, {"line": 1, "id": "a", "field": "what a peer wrote"}]},
            Answer(Verdict.ACCOUNT, LEFT_OUT, set(), {0: "HTTP 200 with an account"}),
        ),
        ({"stored": ["a"], "refused": [{"line": 1, "error": "x"}]}, Answer(Verdict.ACCOUNT, LEFT_OUT, {0}, {})),
        ({"stored": 5}, Answer(Verdict.NO_BATCHES, "HTTP 200 without an account")),
    ],
)
def test_an_account_is_read_by_id_and_by_line(account, expected):
    reply = Reply(status=200, body=json.dumps(account).encode())
    assert judge(reply, ["a", "b"], OUTAGES, batch=True) == expected


async def test_a_record_from_a_spool_that_is_too_large_and_no_operation_is_dropped(server, secret, respond, tmp_path):
    file = SpoolFile.open(tmp_path / "spool", 10)
    file.commit([Record(1, None, 2, 0.0, b"{}", "odd")], [], [])
    file.close()
    server.then(respond(413))
    told = []
    spool = Spool(tmp_path / "spool")
    async with Client(server.url, secret, spool=spool, on_drop=lambda *drop: told.append(drop)) as client:
        assert not await client.flush(60)
    assert client.statistics().dropped[DropReason.TOO_LARGE] == 1
    assert client.statistics().callback_errors == 1
    assert told == []


async def test_a_large_record_from_a_spool_is_shrunk_as_well(server, secret, respond, tmp_path, make_operation, until):
    spool = Spool(tmp_path / "spool")
    async with Client("http://127.0.0.1:9/", secret, spool=spool, retry=Retry(base_delay=0.001, open_after=1)) as client:
        client.submit(make_operation())
        await until(lambda: not client.healthy)
    server.then(respond(413))
    async with Client(server.url, secret, spool=spool) as client:
        assert await client.flush(60)
    assert "arguments_meta" in server.requests[-1].documents[0]


def test_a_record_that_cannot_be_read_back_says_so_without_its_text(payload):
    broken = Record(1, None, 5, 0.0, payload.encode(), "1", row=1)
    with pytest.raises(WireError) as caught:
        broken.shrink()
    assert payload not in str(caught.value)
    assert payload not in repr(broken)
