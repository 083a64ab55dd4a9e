"""The Client: what it promises to the block it surrounds and to the ledger."""

from __future__ import annotations

import gc
import signal
import threading
import tracemalloc
from types import SimpleNamespace

import httpx
import pytest
import trio
import trio.lowlevel
import trio.testing

from tests.http import http_client
from trio_oplog import Client, ClientStateError, ConfigError, DropReason, ResultMeta, Retry
from trio_oplog._delivery.inbox import ThreadInbox

ONCE = Retry(attempts=1)


async def test_what_is_submitted_arrives_with_the_secret_in_its_header(server, secret, make_operation, balanced):
    async with Client(server.url, secret) as client:
        client.submit(make_operation())
        client.submit(make_operation())
    assert sorted(server.stored) == ["0", "1"]
    assert {request.headers["x-internal-secret"] for request in server.requests} == {secret}
    assert {request.headers["content-type"] for request in server.requests} == {"application/json"}
    assert client.statistics().delivered == 2
    assert balanced(client)


async def test_several_requests_run_at_once_but_not_more_than_allowed(server, secret, make_operation):
    full = trio.Event()

    async def wait_for_the_others(request):
        if server.at_once == 3:
            full.set()
        await full.wait()
        await trio.testing.wait_all_tasks_blocked(0.01)
        return await server.store(request)

    server.answer = wait_for_the_others
    async with Client(server.url, secret, concurrency=3) as client:
        for _ in range(9):
            client.submit(make_operation())
    assert server.most_at_once == 3
    assert len(server.stored) == 9


async def test_a_full_queue_drops_the_newest_and_counts_it(server, secret, make_operation, balanced):
    async with Client(server.url, secret, capacity=2) as client:
        for _ in range(6):
            client.submit(make_operation())
        assert client.dropped == 4
        assert client.statistics().dropped[DropReason.QUEUE_FULL] == 4
        assert client.statistics().peak_queued == 2
        assert client.statistics().queued == 2
        assert balanced(client)
    assert sorted(server.stored) == ["0", "1"]
    assert balanced(client)


async def test_a_full_queue_drops_the_oldest_if_told_to(server, secret, make_operation, balanced):
    async with Client(server.url, secret, capacity=2, overflow="drop_oldest") as client:
        for _ in range(6):
            client.submit(make_operation())
        assert client.statistics().dropped[DropReason.QUEUE_FULL] == 4
        assert balanced(client)
    assert sorted(server.stored) == ["4", "5"]


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
async def test_the_queue_is_bounded_by_bytes_too(server, secret, make_operation, balanced, overflow):
    async with Client(server.url, secret, queue_bytes=10_000, overflow=overflow) as client:
        for _ in range(5):
            client.submit(make_operation(arguments=b'"' + b"x" * 4_000 + b'"'))
        assert client.statistics().queued_bytes <= 10_000
        assert client.statistics().dropped[DropReason.QUEUE_FULL] == 4
        assert balanced(client)
    assert server.stored == (["0"] if overflow == "drop_newest" else ["4"])


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
async def test_what_is_larger_than_the_whole_queue_drops_nobody_else(server, secret, make_operation, overflow):
    async with Client(server.url, secret, queue_bytes=4_096, overflow=overflow) as client:
        client.submit(make_operation())
        client.submit(make_operation(arguments=b'"' + b"x" * 5_000 + b'"'))
        await client.wait_submit(make_operation(arguments=b'"' + b"x" * 5_000 + b'"'))
    assert server.stored == ["0"]
    assert client.dropped == 2


async def test_submitting_before_and_after_the_block_counts_as_dropped(server, secret, make_operation, balanced):
    client = Client(server.url, secret)
    client.submit(make_operation())
    async with client:
        client.submit(make_operation())
    client.submit(make_operation())
    await client.wait_submit(make_operation())
    client.submit_from_thread(make_operation())
    assert client.statistics().dropped[DropReason.NOT_OPEN] == 4
    assert server.stored == ["1"]
    assert balanced(client)


@pytest.mark.parametrize("rubbish", [None, "text", object()])
async def test_submitting_rubbish_does_not_raise_but_counts(server, secret, make_operation, balanced, rubbish):
    async with Client(server.url, secret) as client:
        client.submit(rubbish)
        await client.wait_submit(rubbish)
        client.submit(make_operation(tool=object()))
        client.submit(make_operation())
    assert client.statistics().dropped[DropReason.INVALID] == 3
    assert server.stored == ["0"] or server.stored == ["1"]
    assert balanced(client)


async def test_an_oversized_operation_arrives_with_size_and_digest_in_place_of_its_payload(server, secret, make_operation):
    async with Client(server.url, secret, record_max_bytes=2_000) as client:
        client.submit(make_operation(arguments=b'"' + b"x" * 4_998 + b'"', result_summary="y" * 3_000))
        # This one is small until it is written as JSON.
        client.submit(make_operation(arguments=None, result_summary="\0" * 1_000))
    by_id = {request.ids[0]: request.documents[0] for request in server.requests}
    assert by_id["0"]["arguments_meta"]["size_bytes"] == 5_000
    assert "arguments" not in by_id["0"]
    assert by_id["0"]["result_meta"]["total_bytes"] == 3_000
    assert by_id["1"]["result_meta"]["total_bytes"] == 1_000
    assert "result_summary" not in by_id["1"]


async def test_shrinking_keeps_the_digest_of_a_text_that_was_cut_before(server, secret, make_operation):
    meta = {"truncated": True, "total_bytes": 70_000, "sha256": "0" * 64}
    async with Client(server.url, secret, record_max_bytes=1_024) as client:
        client.submit(make_operation(result_summary="y" * 3_000, result_meta=ResultMeta(**meta)))
    assert server.requests[0].documents[0]["result_meta"] == meta


async def test_a_payload_of_a_wrong_type_counts_as_invalid(server, secret, make_operation, balanced):
    async with Client(server.url, secret, record_max_bytes=1_024) as client:
        client.submit(make_operation(arguments="\ud800" * 3_000))
    assert client.statistics().dropped[DropReason.INVALID] == 1
    assert balanced(client)


async def test_what_is_too_large_even_when_shrunk_is_dropped(server, secret, make_operation, balanced):
    async with Client(server.url, secret, record_max_bytes=1_024) as client:
        client.submit(make_operation(tool="t" * 2_000))
        client.submit(make_operation(tool="t" * 2_000, arguments=None, result_summary=None))
        client.submit(make_operation(result_summary=5))
    assert client.statistics().dropped[DropReason.TOO_LARGE] == 2
    assert client.statistics().dropped[DropReason.INVALID] == 1
    assert balanced(client)


async def test_wait_submit_waits_for_room(server, secret, make_operation, balanced):
    async with Client(server.url, secret, capacity=1, concurrency=1) as client:
        for _ in range(20):
            await client.wait_submit(make_operation())
            assert balanced(client)
    assert client.dropped == 0
    assert len(server.stored) == 20


async def test_a_wait_for_room_that_is_cancelled_submitted_nothing(server, secret, make_operation, balanced):
    async with Client(server.url, secret, capacity=1) as client:
        client.submit(make_operation())
        with trio.CancelScope() as scope:
            scope.cancel()
            await client.wait_submit(make_operation())
        assert scope.cancelled_caught
        assert client.statistics().submitted == 1
    assert balanced(client)


async def test_waiting_for_room_ends_with_the_block(secret, make_operation, balanced, nursery, server):
    server.answer = server.hang
    async with Client(server.url, secret, capacity=1, concurrency=1, drain_timeout=0.05) as client:
        client.submit(make_operation())
        await trio.testing.wait_all_tasks_blocked(0.02)
        client.submit(make_operation())
        nursery.start_soon(client.wait_submit, make_operation())
        await trio.testing.wait_all_tasks_blocked()
    await trio.testing.wait_all_tasks_blocked()
    assert client.statistics().dropped[DropReason.DRAIN_TIMEOUT] == 2
    assert client.statistics().dropped[DropReason.NOT_OPEN] == 1
    assert balanced(client)


async def test_other_threads_submit_as_well(server, secret, make_operation, balanced):
    operations = [make_operation() for _ in range(200)]

    def work(part):
        for number, operation in enumerate(part):
            (client.submit if number % 2 else client.submit_from_thread)(operation)

    async with Client(server.url, secret, batch_size=50) as client:
        async with trio.open_nursery() as threads:
            for start in range(0, 200, 50):
                threads.start_soon(trio.to_thread.run_sync, work, operations[start : start + 50])
        assert await client.flush(60)
        assert balanced(client)
    assert sorted(map(int, server.stored)) == list(range(200))


async def test_threads_cannot_flood_the_client(server, secret, make_operation, balanced):
    lost = []
    async with Client(
        server.url, secret, capacity=3, on_drop=lambda operation, reason: lost.append((operation.id, reason))
    ) as client:
        thread = threading.Thread(target=lambda: [client.submit_from_thread(make_operation()) for _ in range(5)])
        thread.start()
        thread.join()  # blocks Trio's thread: nothing can be taken over meanwhile
        assert lost == [("3", DropReason.QUEUE_FULL), ("4", DropReason.QUEUE_FULL)]
        assert client.statistics().queued == 3
        assert balanced(client)
    assert sorted(server.stored) == ["0", "1", "2"]
    assert client.dropped == 2
    assert balanced(client)


def test_the_door_is_shut_once_the_event_loop_is_gone(make_operation):
    async def token():
        return trio.lowlevel.current_trio_token()

    inbox = ThreadInbox(5)
    inbox.open(trio.run(token), pytest.fail)
    operation = make_operation()
    assert inbox.enter(operation) == ((operation, DropReason.NOT_OPEN),)
    assert inbox.counts() == (0, {DropReason.NOT_OPEN: 1})


class MineError(Exception):
    """The user's own."""


@pytest.fixture(params=["dead", "hanging", "resetting", "good"])
async def any_url(request, server, hang_up):
    if request.param == "dead":
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        port = listener.socket.getsockname()[1]
        await listener.aclose()
        return f"http://127.0.0.1:{port}/"

    async def reset(request):
        raise hang_up

    server.answer = {"hanging": server.hang, "resetting": reset, "good": server.store}[request.param]
    return server.url


async def test_the_exception_of_the_block_comes_out_as_it_is(any_url, secret, make_operation, balanced):
    with trio.fail_after(60):
        with pytest.raises(MineError) as caught:
            async with Client(any_url, secret, drain_timeout=0.1) as client:
                client.submit(make_operation())
                raise failure
        assert balanced(client)
        assert client.statistics().queued == client.statistics().in_flight == 0
    assert caught.value is failure


failure = MineError()


async def test_a_group_that_the_user_raised_comes_out_unchanged(any_url, secret, make_operation, balanced):
    group = ExceptionGroup("mine", [MineError(), ValueError("x")])
    with pytest.raises(ExceptionGroup) as caught:
        async with Client(any_url, secret, drain_timeout=0.1) as client:
            client.submit(make_operation())
            raise group
    assert caught.value is group
    assert len(group.exceptions) == 2
    assert balanced(client)


async def test_a_cancelled_block_still_drains_and_stays_cancelled(server, secret, make_operation, balanced):
    with trio.CancelScope() as scope:
        async with Client(server.url, secret) as client:
            client.submit(make_operation())
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert server.stored == ["0"]
    assert balanced(client)


async def test_cancellation_while_draining_eats_neither_the_exception_nor_the_records(server, secret, make_operation, balanced):
    async def slow(request):
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked(0.01)
        return await server.store(request)

    server.answer = slow
    with trio.CancelScope() as scope, pytest.raises(MineError) as caught:
        async with Client(server.url, secret) as client:
            client.submit(make_operation())
            raise failure
    assert caught.value is failure
    assert server.stored == ["0"]
    assert balanced(client)


@pytest.mark.parametrize("where", ["in the block", "while draining"])
async def test_a_cancelled_block_leaves_within_the_drain_timeout(any_url, secret, make_operation, balanced, where):
    with trio.fail_after(60), trio.CancelScope() as scope:
        async with Client(any_url, secret, drain_timeout=0.1) as client:
            client.submit(make_operation())
            if where == "in the block":
                scope.cancel()
                await trio.sleep_forever()
        scope.cancel()
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert balanced(client)
    assert client.statistics().queued == client.statistics().in_flight == 0


def test_ctrl_c_in_the_block_comes_out_bare(secret, make_operation, balanced):
    async def main():
        async with client:
            client.submit(make_operation())
            signal.raise_signal(signal.SIGINT)
            await trio.sleep_forever()

    client = Client("http://127.0.0.1:9/", secret, drain_timeout=0.05)
    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert balanced(client)
    assert client.statistics().queued == client.statistics().in_flight == 0


def test_ctrl_c_while_draining_ends_the_drain(secret, make_operation, balanced):
    async def main():
        async with client:
            client.submit(make_operation())
            trio.lowlevel.spawn_system_task(interrupt)

    async def interrupt():
        await trio.testing.wait_all_tasks_blocked(0.01)
        signal.raise_signal(signal.SIGINT)

    client = Client("http://127.0.0.1:9/", secret, drain_timeout=60)
    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert client.statistics().dropped[DropReason.DRAIN_TIMEOUT] == 1
    assert balanced(client)


def test_ctrl_c_while_entering_leaves_nothing_behind(secret):
    async def main():
        signal.raise_signal(signal.SIGINT)  # pends until the first checkpoint after the protected code
        async with client:
            raise AssertionError("not reached")

    async def protected():
        await main()

    client = Client("http://127.0.0.1:9/", secret)
    trio.lowlevel.enable_ki_protection(main)
    with pytest.raises(KeyboardInterrupt):
        trio.run(protected)


def test_ctrl_c_in_the_middle_of_entering_leaves_nothing_behind(secret, make_operation):
    async def main():
        trio.lowlevel.spawn_system_task(interrupt)
        async with client:
            raise AssertionError("not reached")

    async def interrupt():
        while client._queue.closed:
            await trio.lowlevel.checkpoint()
        signal.raise_signal(signal.SIGINT)

    client = Client("http://127.0.0.1:9/", secret)
    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    client.submit(make_operation())
    assert client.statistics().dropped[DropReason.NOT_OPEN] == 1


@pytest.mark.once
async def test_memory_stays_flat_in_a_flood_with_a_dead_endpoint(secret, make_operation, balanced):
    async with Client("http://127.0.0.1:9/", secret, 200, drain_timeout=0, queue_bytes=300_000) as client:
        held = []
        for _ in range(4):
            for _ in range(40):
                for _ in range(250):
                    client.submit(make_operation())
                await trio.lowlevel.checkpoint()
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
        assert balanced(client)
    assert client.dropped == 40_000
    assert max(held[1:]) - held[0] < 300_000


@pytest.fixture(autouse=True)
def _traced(request):
    if "memory" not in request.node.name:
        yield
        return
    tracemalloc.start()
    yield
    tracemalloc.stop()


async def test_ctrl_c_that_hits_a_task_of_the_http_client_comes_out_bare(secret, make_operation, balanced):
    class Transport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.interrupted)

        async def interrupted(self):
            raise KeyboardInterrupt

    async with httpx.AsyncClient(transport=Transport()) as http:
        with pytest.raises(KeyboardInterrupt) as caught:
            async with Client("http://x/", secret, http=http, drain_timeout=0.1) as client:
                client.submit(make_operation())
                await trio.sleep_forever()
    assert type(caught.value) is KeyboardInterrupt
    assert balanced(client)
    assert client.statistics().in_flight == 0


async def test_a_bug_of_the_worker_does_not_look_like_the_users(server, secret, make_operation, balanced, caplog):
    async with Client(server.url, secret) as client:
        client._worker._endpoint.requests = "a broken counter"
        client.submit(make_operation())
        await trio.testing.wait_all_tasks_blocked(0.01)
        client._worker._endpoint.requests = 0
        client.submit(make_operation())
    assert server.stored == ["1"]
    assert client.statistics().dropped[DropReason.INTERNAL] == 1
    assert "bug in trio_oplog: TypeError in post" in caplog.text
    assert balanced(client)


async def test_a_client_of_the_callers_is_not_closed_and_ours_is(server, secret, make_operation):
    async with http_client() as http:
        async with Client(server.url, secret, http=http) as client:
            client.submit(make_operation())
        assert not http.is_closed
        assert (await http.post(server.url, json={"id": "mine"})).status_code == 200
    assert server.stored == ["0", "mine"]
    assert server.connections == 1


async def test_without_a_drain_everything_that_is_left_is_dropped(server, secret, make_operation, balanced):
    async with Client(server.url, secret, drain_timeout=0) as client:
        client.submit(make_operation())
    assert client.statistics().dropped[DropReason.DRAIN_TIMEOUT] == 1
    assert client.drain_report is not None
    assert client.drain_report.timed_out
    assert not client.drain_report.complete
    assert balanced(client)


async def test_the_drain_report_tells_what_happened_after_the_block(server, secret, make_operation, caplog):
    async with Client(server.url, secret) as client:
        client.submit(make_operation())
        assert client.drain_report is None
    assert client.drain_report.delivered == 1
    assert client.drain_report.complete
    assert client.drain_report.duration > 0
    assert not caplog.records


async def test_leaving_with_losses_is_one_line_in_the_log(server, secret, make_operation, caplog):
    async with Client(server.url, secret, drain_timeout=0) as client:
        client.submit(make_operation())
        client.submit(make_operation())
    lines = [record.getMessage() for record in caplog.records if "left" in record.getMessage()]
    assert lines == [f"left {server.url} with operations lost: 2 drain_timeout"]


async def test_flush_says_whether_everything_before_it_was_delivered(server, secret, make_operation, balanced, respond):
    async with Client(server.url, secret, retry=ONCE) as client:
        assert await client.flush(60)
        client.submit(make_operation())
        assert await client.flush(60)
        server.then(respond(400))
        client.submit(make_operation())
        assert not await client.flush(60)
        assert await client.flush(60)
        assert balanced(client)


async def test_flush_does_not_wait_for_what_comes_after_it(server, secret, make_operation, nursery):
    release = {"0": trio.Event(), "1": trio.Event()}
    flushed = trio.Event()

    async def hold(request):
        await release[request.ids[0]].wait()
        return await server.store(request)

    async def flush():
        assert await client.flush(60)
        flushed.set()

    server.answer = hold
    async with Client(server.url, secret) as client:
        client.submit(make_operation())
        nursery.start_soon(flush)
        await trio.testing.wait_all_tasks_blocked()
        client.submit(make_operation())
        client.submit(None)
        while client.statistics().in_flight < 2:
            await trio.lowlevel.checkpoint()
        release["0"].set()
        await flushed.wait()
        assert client.statistics().in_flight == 1
        release["1"].set()
        assert not await client.flush(60)


async def test_a_flush_that_runs_out_of_time_says_no_and_loses_nothing(server, secret, make_operation):
    release = trio.Event()

    async def wait(request):
        await release.wait()
        return await server.store(request)

    server.answer = wait
    async with Client(server.url, secret) as client:
        client.submit(make_operation())
        assert not await client.flush(0.01)
        release.set()
        assert await client.flush(60)
        with pytest.raises(ConfigError, match="timeout"):
            await client.flush(-1)


async def test_a_flush_that_is_cancelled_leaves_the_bad_news_for_the_next(server, secret, make_operation, respond):
    release = trio.Event()

    async def wait(request):
        await release.wait()
        return await server.store(request)

    async with Client(server.url, secret) as client:
        server.then(respond(400), wait)
        client.submit(make_operation())
        while not client.dropped:
            await trio.testing.wait_all_tasks_blocked(0.01)
        client.submit(make_operation())
        assert not await client.flush(0.01)
        release.set()
        assert not await client.flush(60)
        assert await client.flush(60)


async def test_on_drop_is_told_each_operation_and_why(server, secret, make_operation, respond, caplog):
    told = []
    server.then(respond(422))
    async with Client(server.url, secret, on_drop=lambda operation, reason: told.append((operation.id, reason))) as client:
        client.submit(make_operation())
    client.submit(make_operation())
    assert told == [("0", DropReason.REJECTED), ("1", DropReason.NOT_OPEN)]


async def test_an_on_drop_that_raises_is_counted(server, secret, make_operation, balanced, caplog, payload):
    def fail(operation, reason):
        raise ValueError(operation.result_summary)

    async with Client(server.url, secret, capacity=1, on_drop=fail) as client:
        for _ in range(3):
            client.submit(make_operation())
    assert client.statistics().callback_errors == 2
    assert balanced(client)
    assert payload not in caplog.text


async def test_health_age_and_the_last_error_can_be_asked_for(server, secret, make_operation, respond):
    client = Client(server.url, secret, concurrency=1, retry=Retry(open_after=1, base_delay=0.01))
    assert not client.healthy
    release = trio.Event()

    async def wait(request):
        await release.wait()
        return respond(503)

    server.then(wait)
    async with client:
        assert client.healthy
        assert client.last_error is None
        assert client.oldest_age == 0
        client.submit(make_operation())
        await trio.testing.wait_all_tasks_blocked(0.01)
        client.submit(make_operation())
        assert client.oldest_age > 0
        release.set()
        while client.healthy:
            await trio.lowlevel.checkpoint()
        assert client.last_error == "HTTP 503"
    assert server.stored == ["0", "1"]
    assert client.statistics().failed_requests == 1
    assert client.statistics().requests == 3


async def test_a_client_is_entered_once(server, secret):
    async with Client(server.url, secret) as client:
        with pytest.raises(ClientStateError):
            await client.__aenter__()


async def test_entering_in_a_cancelled_scope_is_cancelled(server, secret):
    with trio.CancelScope() as scope:
        scope.cancel()
        async with Client(server.url, secret):
            raise AssertionError("not reached")
    assert scope.cancelled_caught


async def test_the_repr_hides_the_secret_and_what_a_url_may_carry(secret, server):
    client = Client(f"http://user:{secret}@127.0.0.1/path?token={secret}", secret)
    assert repr(client) == "<Client of http://127.0.0.1/path: 0 queued, 0 in flight>"


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("url", ["", "ftp://x/", "x", "http://", "http://x:y/", None, b"http://x/"]),
        ("secret", ["", "a\nb", " a", "\xe4", None, 5]),
        ("capacity", [0, -1, True, 1.5, "1"]),
        ("concurrency", [0]),
        ("batch_size", [0]),
        ("batch_bytes", [0]),
        ("queue_bytes", [4095]),
        ("record_max_bytes", [1023]),
        ("request_timeout", [0, -1, float("nan"), float("inf"), "5", True]),
        ("drain_timeout", [-0.1, float("inf")]),
        ("overflow", ["drop", None]),
        ("retry", [5]),
        ("http", [5]),
        ("on_drop", [5]),
        ("spool", ["path"]),
    ],
)
def test_a_wrong_value_is_refused_by_name(field, values, secret):
    good = {"url": "http://127.0.0.1/", "secret": secret}
    for value in values:
        with pytest.raises(ConfigError) as caught:
            Client(**(good | {field: value}))
        assert caught.value.field == field
        assert secret not in str(caught.value)


async def test_a_workspace_of_a_text_class_of_its_own_is_a_lane_by_its_text(server, secret, make_operation, balanced):
    class Odd(str):
        """Equal to nothing, so that each would have a lane of its own."""

        __slots__ = ()
        __hash__ = object.__hash__

        def __eq__(self, _):
            return False

    async with Client(server.url, secret) as client:
        client.submit(make_operation(workspace_id=Odd("w")))
        client.submit(make_operation(workspace_id=Odd("w")))
        assert [record.workspace for record in client._queue._records] == ["w", "w"]
        assert client._queue._records.workspaces == 1
        client.submit(SimpleNamespace(workspace_id=7, arguments=None, result_summary=None))
        assert client.statistics().dropped[DropReason.INVALID] == 1
        await client.flush(60)
        assert balanced(client)
