"""Outage or refusal: what each answer costs the records, by its status, its place and what became of their neighbours."""

from __future__ import annotations

import logging

import httpx
import pytest
import trio

from trio_oplog import Client, DropReason, Retry, Spool
from trio_oplog._delivery.verdict import OUTAGES, Reply, Verdict, judge, name_redirect

MINUTES = 60.0


def steady(**options):
    """Pauses of one length, so that what becomes of a record does not hang on chance."""
    return Retry(random=lambda: 0.5, **options)


QUICK = steady(base_delay=0.001, max_delay=0.01)
PAGE = {"Content-Type": "text/html; charset=utf-8"}


@pytest.fixture(autouse=True)
def log(caplog):
    caplog.set_level(logging.INFO, "trio_oplog")
    return caplog


class World:
    """An endpoint behind something: ``between(ids)`` answers in its place, unless it returns ``None``."""

    def __init__(self) -> None:
        self.between = lambda _: None
        self.stored: list[str] = []
        self.sizes: list[int] = []
        self.knows_batches = True

    async def answer(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        ids = [line.split(b'"')[3].decode() for line in request.content.splitlines()]
        self.sizes.append(len(ids))
        batch = request.headers["content-type"] != "application/json"
        if (reply := self.between(ids)) is not None:
            return reply
        if batch and not self.knows_batches:
            return httpx.Response(400)
        self.stored += ids
        return httpx.Response(200, json={"stored": ids, "refused": []}) if batch else httpx.Response(201, json={"id": ids[0]})


@pytest.fixture
def world():
    return World()


@pytest.fixture
async def http(world):
    async with httpx.AsyncClient(transport=httpx.MockTransport(world.answer)) as http:
        yield http


async def until(condition):
    """Let time pass until something is so."""
    while not condition():  # noqa: ASYNC110 -- nobody tells
        await trio.sleep(1)


def says(status, **options):
    return lambda _: httpx.Response(status, **options)


JUDGED = [
    (201, {}, b'{"id": "a"}', Verdict.STORED, ""),
    (204, {}, b"", Verdict.STORED, ""),
    (200, {"content_type": "text/plain"}, b"OK", Verdict.STORED, ""),
    (200, {"content_type": "text/html"}, b"", Verdict.BLOCKED, "HTTP 200 with text/html: something else answers"),
    (200, {}, b"\n <!DOCTYPE html><p>Log in", Verdict.BLOCKED, "HTTP 200 with text/html: something else answers"),
    (302, {"redirect": "redirected to another host"}, b"", Verdict.WRONG_PATH, "HTTP 302: redirected to another host"),
    (400, {}, b'{"error": "tool is missing", "field": "tool"}', Verdict.REFUSED, "HTTP 400: tool is wrong"),
    (422, {}, b'{"field": "approval.by"}', Verdict.REFUSED, "HTTP 422: approval.by is wrong"),
    (400, {}, b'{"field": "hunter2"}', Verdict.REFUSED, "HTTP 400"),
    (400, {}, b'{"field": 5}', Verdict.REFUSED, "HTTP 400"),
    (400, {}, b"\xff", Verdict.REFUSED, "HTTP 400"),
    (400, {"content_type": "text/html"}, b"<h1>Bad Request</h1>", Verdict.BLOCKED, "HTTP 400"),
    (415, {}, b"", Verdict.REFUSED, "HTTP 415"),
    (401, {}, b"", Verdict.WRONG_PATH, "HTTP 401: the secret is wrong"),
    (403, {}, b"", Verdict.BLOCKED, "HTTP 403: access is refused"),
    (404, {}, b"", Verdict.WRONG_PATH, "HTTP 404: there is no such path"),
    (407, {}, b"", Verdict.WRONG_PATH, "HTTP 407: a proxy asks for credentials"),
    (409, {}, b"", Verdict.BLOCKED, "HTTP 409"),
    (413, {}, b"", Verdict.TOO_LARGE, "HTTP 413"),
    (429, {}, b"", Verdict.OUTAGE, "HTTP 429"),
    (501, {}, b"", Verdict.WRONG_PATH, "HTTP 501: the path does not take POST"),
    (505, {}, b"", Verdict.WRONG_PATH, "HTTP 505"),
    (503, {"content_type": "text/html"}, b"", Verdict.OUTAGE, "HTTP 503"),
    *[(code, {}, b"", Verdict.OUTAGE, f"HTTP {code}: a proxy cannot reach the endpoint") for code in (520, 522, 527, 530)],
    *[(code, {}, b"", Verdict.OUTAGE, f"HTTP {code}") for code in (500, 502, 504, 529, 598)],
]


@pytest.mark.parametrize(("status", "more", "body", "verdict", "problem"), JUDGED)
def test_an_answer_to_one_record(status, more, body, verdict, problem):
    answer = judge(Reply(status=status, body=body, **more), ["a"], OUTAGES, batch=False)
    assert (answer.verdict, answer.problem) == (verdict, problem)


@pytest.mark.parametrize(
    ("status", "more", "body", "verdict"),
    [
        (200, {}, b"\xff", Verdict.NO_BATCHES),
        (204, {}, b"", Verdict.NO_BATCHES),
        (200, PAGE, b"<html>", Verdict.BLOCKED),
        (415, PAGE, b"", Verdict.NO_BATCHES),
        (400, {}, b"", Verdict.BATCH_REFUSED),
        (422, {}, b"", Verdict.BATCH_REFUSED),
        (400, PAGE, b"", Verdict.BLOCKED),
        (404, {}, b"", Verdict.WRONG_PATH),
    ],
)
def test_an_answer_to_a_batch(status, more, body, verdict):
    reply = Reply(status=status, body=body, content_type=more.get("Content-Type", ""))
    assert judge(reply, ["a", "b"], OUTAGES, batch=True).verdict is verdict


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("https://portal.example/login?token=hunter2", "redirected to another host"),
        ("/login?token=hunter2", "redirected to another path"),
        ("", "redirected to another path"),
        ("https://here/operations", "redirected to https"),
        ("ftp://here/operations", "redirected to another protocol"),
        ("http://here:port/", "redirected to what is no address"),
    ],
)
def test_a_redirect_is_named_without_its_address(location, named):
    assert name_redirect(httpx.URL("http://here/operations"), location) == named


WRONG_PATHS = {
    "401": (says(401), "HTTP 401: the secret is wrong"),
    "403": (says(403), "HTTP 403: access is refused"),
    "404": (says(404), "HTTP 404: there is no such path"),
    "302": (says(302, headers={"Location": "https://portal/?q=hunter2"}), "HTTP 302: redirected to another host"),
    "page": (says(200, html="<html>Log in</html>"), "HTTP 200 with text/html: something else answers"),
    "400 page": (says(400, html="<h1>Bad Request</h1>"), "HTTP 400"),
    "522": (says(522), "HTTP 522: a proxy cannot reach the endpoint"),
}


@pytest.mark.parametrize("batch_size", [1, 20])
@pytest.mark.parametrize("kind", WRONG_PATHS)
async def test_with_a_spool_ten_minutes_of_a_wrong_path_cost_nothing(
    world, http, secret, make_operation, balanced, tmp_path, autojump_clock, disk_time, log, kind, batch_size
):
    between, problem = WRONG_PATHS[kind]
    options = {"retry": steady(), "http": http, "spool": Spool(tmp_path / "spool"), "batch_size": batch_size, "concurrency": 3}
    async with Client("http://x/", secret, drain_timeout=60, **options) as client:
        for _ in range(10):
            client.submit(make_operation())
        await until(lambda: client.statistics().delivered == 10)
        world.between = between
        for _ in range(40):
            client.submit(make_operation())
            await trio.sleep(15)
        assert not client.healthy
        assert client.last_error == problem
        assert set(client.statistics().held) == {problem}
        assert balanced(client)
        attempts = len(world.sizes)
        world.between = lambda _: None
        await until(lambda: client.statistics().delivered == 50)
        assert client.healthy
        assert client.statistics().held == {}
    assert client.dropped == 0
    assert sorted(map(int, world.stored)) == list(range(50))
    assert attempts < 100  # every record would have been asked about, time and again
    assert log.text.count(f"does not take operations ({problem})") == 1
    assert log.text.count("answers again") == 1
    assert "hunter2" not in log.text


@pytest.mark.parametrize("kind", WRONG_PATHS)
async def test_without_a_spool_a_wrong_path_costs_what_the_account_says(
    world, http, secret, make_operation, balanced, autojump_clock, kind
):
    lost = []
    world.between = WRONG_PATHS[kind][0]
    options = {"retry": steady(), "http": http, "on_drop": lambda operation, reason: lost.append((operation.id, reason))}
    async with Client("http://x/", secret, capacity=50, concurrency=2, **options) as client:
        for _ in range(100):
            client.submit(make_operation())
            await trio.sleep(6)
            assert balanced(client)
        world.between = lambda _: None
        await client.flush(10 * MINUTES)
    assert {reason for _, reason in lost} <= {DropReason.FAILED, DropReason.QUEUE_FULL}
    assert sorted([*map(int, world.stored), *(int(name) for name, _ in lost)]) == list(range(100))
    assert client.dropped == len(lost) > 0
    assert len(world.stored) > 0


@pytest.mark.parametrize("spooled", [False, True])
@pytest.mark.parametrize("batch_size", [1, 100])
@pytest.mark.parametrize("first", [0, 57, 99])
async def test_a_firewall_that_refuses_one_record_of_a_hundred_costs_that_one(
    world, http, secret, make_operation, balanced, tmp_path, autojump_clock, disk_time, spooled, batch_size, first
):
    bad = {str(first)}
    world.between = lambda ids: httpx.Response(403, html="<h1>Blocked</h1>") if bad & {*ids} else None
    options = {"retry": steady(), "spool": Spool(tmp_path / "spool") if spooled else None, "batch_size": batch_size, "http": http}
    async with Client("http://x/", secret, concurrency=1, **options) as client:
        for _ in range(101):  # after the bad one comes another
            client.submit(make_operation())
        await until(lambda: client.statistics().delivered == 101 - len(bad) and client.dropped == len(bad))
        assert balanced(client)
        assert client.healthy
    assert client.statistics().dropped[DropReason.REJECTED] == len(bad) == client.dropped
    assert {*map(str, range(101))} - {*world.stored} == bad
    assert client.statistics().requests < (40 if batch_size == 100 else 120)


async def test_a_lone_403_is_held_until_a_neighbour_gets_through(world, http, secret, make_operation, balanced, autojump_clock):
    world.between = lambda ids: httpx.Response(403) if "0" in ids else None
    async with Client("http://x/", secret, http=http, retry=steady(time_limit=3600)) as client:
        client.submit(make_operation())
        await trio.sleep(60)
        assert not client.healthy
        assert client.statistics().held == {"HTTP 403: access is refused": 1}
        assert client.dropped == 0
        client.submit(make_operation())
        await trio.sleep(200)
        assert client.statistics().dropped[DropReason.REJECTED] == 1
        assert client.last_error == "HTTP 403: access is refused, while others are stored"
        assert client.healthy
        assert balanced(client)
    assert world.stored == ["1"]


async def test_a_moment_in_which_everybody_is_refused_is_no_verdict_on_whoever_was_sent_then(
    world, http, secret, make_operation, balanced, autojump_clock
):
    """Half of the servers behind one address refuse everybody: each record gets through in the end."""
    turn = iter(range(10**6))
    world.between = lambda _: httpx.Response(401) if next(turn) % 2 else None
    async with Client("http://x/", secret, http=http, batch_size=5, drain_timeout=600, retry=steady()) as client:
        for _ in range(200):
            client.submit(make_operation())
            await trio.sleep(0.1)
    assert client.dropped == 0
    assert sorted(map(int, world.stored)) == list(range(200))
    assert balanced(client)


@pytest.mark.parametrize("fault", [500, None])
@pytest.mark.parametrize("open_after", [1, 3])
async def test_a_record_that_always_fails_stands_in_nobodys_way(
    world, http, secret, make_operation, autojump_clock, fault, open_after
):
    def crash(ids):
        if not {"0", "1", "2"} & {*ids}:
            return None
        if fault is None:
            raise httpx.ReadError("gone")
        return httpx.Response(fault)

    world.between = crash
    async with Client("http://x/", secret, http=http, concurrency=1, retry=steady(open_after=open_after)) as client:
        for _ in range(10):
            client.submit(make_operation())
        await trio.sleep(100)
        assert {*world.stored} == {*map(str, range(3, 10))}
        assert sum(client.statistics().held.values()) == 3
        await trio.sleep(300)
        assert client.statistics().dropped[DropReason.FAILED] == 3


async def test_a_record_that_breaks_every_connection_is_parted_from_its_batch(
    world, http, secret, make_operation, tmp_path, autojump_clock, disk_time
):
    def crash(ids):
        if "3" in ids:
            raise httpx.RemoteProtocolError("gone")

    world.between = crash
    spool = Spool(tmp_path / "spool")
    async with Client("http://x/", secret, http=http, concurrency=1, batch_size=8, spool=spool, retry=steady()) as client:
        for _ in range(8):
            client.submit(make_operation())
        await until(lambda: client.last_error == "no valid HTTP answer")
        for _ in range(60):
            client.submit(make_operation())
            await trio.sleep(1)
        await until(lambda: {*map(int, world.stored)} == {*range(68)} - {3})
        assert client.dropped == 0


async def test_a_spooled_record_that_fails_while_others_get_through_is_given_up_in_time_and_not_before(
    world, http, secret, make_operation, tmp_path, autojump_clock, disk_time
):
    world.between = lambda ids: httpx.Response(500) if "0" in ids else None
    retry = steady(time_limit=100, max_delay=5)
    async with Client("http://x/", secret, http=http, spool=Spool(tmp_path / "spool"), retry=retry) as client:
        for _ in range(18):
            client.submit(make_operation())
            await trio.sleep(5)
        assert client.dropped == 0
        while not client.dropped:
            client.submit(make_operation())
            await trio.sleep(5)
        assert client.statistics().dropped[DropReason.FAILED] == 1


async def test_the_first_failure_after_an_outage_costs_no_spooled_record(
    world, http, secret, make_operation, tmp_path, autojump_clock, disk_time
):
    options = {"http": http, "spool": Spool(tmp_path / "spool"), "concurrency": 1, "retry": steady(time_limit=10)}
    async with Client("http://x/", secret, **options) as client:
        world.between = says(503)
        for _ in range(4):
            client.submit(make_operation())
        await trio.sleep(600)
        failing = {"0", "1"}
        world.between = lambda ids: httpx.Response(503) if failing & {*ids} and not failing.difference_update(ids) else None
        await until(lambda: client.statistics().delivered == 4)
    assert client.dropped == 0


@pytest.mark.parametrize("batch_size", [1, 10])
@pytest.mark.parametrize("is_known", [False, True])
async def test_leaving_with_a_wrong_path_keeps_what_is_in_a_spool_at_once(
    server, respond, secret, make_operation, balanced, tmp_path, until, batch_size, is_known
):
    async def block(_):
        return respond(403)

    server.answer = block
    options = {"batch_size": batch_size, "concurrency": 2, "spool": Spool(tmp_path / "spool")}
    with trio.fail_after(100):  # far from what draining may take
        async with Client(server.url, secret, retry=QUICK, drain_timeout=3600, **options) as client:
            client.submit(make_operation())
            await until(lambda: not client.healthy if is_known else client.statistics().spooled)
    assert client.drain_report.complete
    assert client.drain_report.spooled == 1
    assert balanced(client)
    server.answer = server.store
    async with Client(server.url, secret, **options) as client:
        assert await client.flush(60)
    assert server.stored == ["0"]


async def test_leaving_with_a_wrong_path_and_no_spool_drops_what_is_left_after_the_time_to_drain(
    world, http, secret, make_operation, balanced, autojump_clock
):
    world.between = says(401)
    async with Client("http://x/", secret, http=http, drain_timeout=20, concurrency=2, retry=steady()) as client:
        for _ in range(5):
            client.submit(make_operation())
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(20)
    assert client.drain_report.dropped == {DropReason.DRAIN_TIMEOUT: 5}
    assert balanced(client)


async def test_leaving_still_sees_through_what_is_held_while_the_endpoint_is_well(
    world, http, secret, make_operation, autojump_clock
):
    world.between = lambda ids: httpx.Response(500) if len(world.sizes) < 3 else None
    async with Client("http://x/", secret, http=http, concurrency=1, drain_timeout=60, retry=steady()) as client:
        client.submit(make_operation())
    assert world.stored == ["0"]
    assert client.dropped == 0


async def test_the_next_problem_of_an_outage_is_named_too(world, http, secret, make_operation, autojump_clock, log):
    world.between = says(503)
    async with Client("http://x/", secret, http=http, retry=steady(time_limit=3600)) as client:
        client.submit(make_operation())
        await trio.sleep(60)
        world.between = says(401)
        await trio.sleep(100)
        world.between = says(503)
        await trio.sleep(100)
        world.between = lambda _: None
        assert await client.flush(60)
    warnings = [record.getMessage() for record in log.records if record.levelname == "WARNING"]
    assert warnings[:2] == [
        "http://x/ does not take operations (HTTP 503); trying one request at a time",
        "http://x/ still does not take operations (HTTP 401: the secret is wrong)",
    ]
    assert len(warnings) == 3


# Batches


async def test_one_400_that_comes_astray_does_not_end_batches(world, http, secret, make_operation, autojump_clock):
    world.between = lambda _: httpx.Response(400, html="<h1>Bad Request</h1>") if len(world.sizes) == 1 else None
    async with Client("http://x/", secret, http=http, batch_size=100, concurrency=1, retry=QUICK) as client:
        client.submit(make_operation())
        await trio.sleep(1)
        for _ in range(500):
            client.submit(make_operation())
        assert await client.flush(60)
    assert max(world.sizes) == 100
    assert client.statistics().requests <= 9


async def test_an_endpoint_that_does_not_know_batches_is_asked_now_and_then_whether_it_does(
    world, http, secret, make_operation, autojump_clock, log
):
    world.knows_batches = False
    async with Client("http://x/", secret, http=http, batch_size=10, concurrency=1, retry=steady()) as client:

        async def send(count):
            before = len(world.sizes)
            for _ in range(count):
                client.submit(make_operation())
            assert await client.flush(60)
            return max(world.sizes[before:])

        assert await send(30) == 10
        assert await send(30) == 1
        await trio.sleep(31)
        assert await send(30) == 10  # asked, and told no
        assert await send(30) == 1
        world.knows_batches = True
        await trio.sleep(31)
        assert await send(30) == 1  # the pause is longer the second time
        await trio.sleep(31)
        assert await send(30) == 10
        assert await send(30) == 10
    assert client.dropped == 0
    assert sorted(map(int, world.stored)) == list(range(210))
    assert log.text.count("takes no batches (HTTP 400); one by one for now") == 1
    assert log.text.count("takes batches again") == 1


async def test_an_endpoint_that_forgets_about_batches_is_found_out(world, http, secret, make_operation, autojump_clock, log):
    async with Client("http://x/", secret, http=http, batch_size=8, concurrency=1, retry=steady()) as client:
        for _ in range(2):
            for _ in range(24):
                client.submit(make_operation())
            assert await client.flush(60)
            world.knows_batches = False
    assert client.dropped == 0
    assert "takes no batches (HTTP 400)" in log.text
    assert sorted(map(int, world.stored)) == list(range(48))


async def test_records_that_are_wrong_do_not_make_batches_look_wrong(world, http, secret, make_operation, autojump_clock, log):
    world.between = lambda ids: httpx.Response(400) if {"1", "3", "5", "7", "9"} & {*ids} else None
    async with Client("http://x/", secret, http=http, batch_size=2, concurrency=1, retry=steady()) as client:
        for _ in range(12):
            client.submit(make_operation())
        assert not await client.flush(60)
    assert client.statistics().dropped[DropReason.REJECTED] == 5
    assert "takes no batches" not in log.text
    assert world.sizes[-1] == 2


async def test_what_was_learned_of_the_largest_body_is_tried_again_after_a_while(
    world, http, secret, make_operation, autojump_clock
):
    world.between = lambda ids: httpx.Response(413) if len(ids) > 2 and trio.current_time() < began + 100 else None
    began = trio.current_time()
    async with Client("http://x/", secret, http=http, batch_size=8, concurrency=1, retry=steady()) as client:
        for minutes in (1, 20, 0):
            for _ in range(8):
                client.submit(make_operation())
            assert await client.flush(60)
            await trio.sleep(60 * minutes)
    assert max(world.sizes[-2:]) >= 7  # one of the eight may have gone ahead


async def test_a_record_that_an_account_leaves_out_for_ever_is_parted_from_the_others(
    world, http, secret, make_operation, autojump_clock
):
    def forget(ids):
        ids = [name for name in ids if name not in ("1", "2")]
        world.stored.extend(ids)
        return httpx.Response(200, json={"stored": ids})

    world.between = forget
    async with Client("http://x/", secret, http=http, batch_size=4, concurrency=1, retry=steady()) as client:
        for _ in range(4):
            client.submit(make_operation())
        assert await client.flush(60)
    assert world.sizes[-2:] == [1, 1]
