"""Laws of the tap, whatever clients and servers send: no call is lost or recorded twice, nothing grows, nothing raises."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.tapping import TapWatch, event
from trio_oplog import HttpExchange


def mostly(usual: Any, odd: Any) -> Any:
    """Nearly always the one, now and then the other."""
    return st.sampled_from([usual, usual, usual, usual, odd]).flatmap(lambda strategy: strategy)


IDS = st.sampled_from([1, 1, 1, 0, "1", None])
USERS = st.sampled_from([None, None, "alice"])
SESSION = (b"mcp-session-id", b"a")

values = {
    b"mcp-session-id": st.sampled_from([b"a", b"b", b"c", b""]),
    b"mcp-protocol-version": st.sampled_from([b"2025-11-25", b"2026-07-28", b"x"]),
    b"mcp-method": st.sampled_from([b"tools/call", b""]),
    b"last-event-id": st.just(b"e1"),
    b"content-type": st.sampled_from([b"application/json", b"text/event-stream", b"text/event-stream; x", b"text/plain", b""]),
    b"content-encoding": st.sampled_from([b"gzip", b"br", b"identity"]),
    b"content-length": st.sampled_from([b"0", b"10", b"x", 30 * b"9"]),
}
header = st.sampled_from(sorted(values)).flatmap(lambda name: st.tuples(st.just(name), values[name] | st.binary(max_size=5)))
usual_heads = st.sampled_from([[], [SESSION], [SESSION], [(b"mcp-protocol-version", b"2026-07-28")]])
heads = mostly(usual_heads, st.lists(header, max_size=3))
targets = mostly(st.just("/mcp"), st.sampled_from(["/message?sessionId=a", "//["]) | st.text(max_size=5))
calls = st.builds(lambda number: {"id": number, "method": "tools/call", "params": {"name": "TOOL"}}, IDS)
requests = st.one_of(
    calls,
    st.builds(lambda number: {"id": number, "method": "initialize"}, IDS),
    st.builds(lambda number: {"method": "notifications/cancelled", "params": {"requestId": number}}, IDS),
    st.builds(lambda number: {"id": number, "result": {"action": "accept"}}, IDS),
    st.builds(lambda number: {"id": number, "method": "tasks/get", "params": {"taskId": "t"}}, IDS),
    st.just({"id": 5, "method": "operations/list"}),
)
answers = st.one_of(
    st.builds(lambda number: {"id": number, "result": {"content": []}}, IDS),
    st.builds(lambda number: {"id": number, "error": {"code": 1, "message": "no"}}, IDS),
    st.builds(lambda number: {"id": number, "result": {"resultType": "task", "taskId": "t", "status": "working"}}, IDS),
    st.builds(lambda number: {"id": number, "result": {"resultType": "input_required", "requestState": "s"}}, IDS),
    st.builds(lambda number: {"id": number, "method": "elicitation/create"}, IDS),
    st.builds(lambda number: {"method": "notifications/cancelled", "params": {"requestId": number}}, IDS),
    st.just({"method": "notifications/tasks/status", "params": {"taskId": "t", "status": "cancelled"}}),
)
bodies = mostly(calls, requests | st.lists(requests, max_size=3) | st.binary(max_size=10))
odd_outputs = st.one_of(
    answers.map(lambda message: json.dumps(message).encode()),
    st.lists(answers, max_size=3).map(lambda batch: json.dumps(batch).encode()),
    answers.map(lambda message: gzip.compress(event(message))),
    st.just(event("/message?sessionId=a", event="endpoint")),
    st.just(b"data: " + 600 * b"x"),
    st.binary(max_size=10),
)
events = st.builds(lambda message, fields: event(message, **fields), answers, st.sampled_from([{}, {"id": "e1"}]))
outputs = mostly(events, odd_outputs)
SSE = (b"content-type", b"text/event-stream")
statuses = mostly(st.sampled_from([200, 200, 202]), st.integers(-1, 1_000).filter(lambda n: not 300 <= n < 400) | st.just(404))
answer_heads = mostly(st.sampled_from([[SSE], [SSE], [SSE, SESSION], []]), st.lists(header, max_size=3))
data = st.lists(st.tuples(st.just("data"), outputs), max_size=4)
endings = st.sampled_from(["response_end", "client_closed", "upstream_failed"])


def script(begin: Any, body: Any, head: Any, parts: list[Any], ending: str | None, age: int) -> list[tuple[Any, ...]]:
    """What happens in one exchange, in its order."""
    asks = [] if body is None else [("ask", body)]
    ends = [] if ending is None else [(ending,)]
    return [("begin", *begin), *asks, ("head", *head), *parts, *ends, ("expire", age)]


methods = mostly(st.just("POST"), st.sampled_from(["GET", "GET", "DELETE", "?"]))
exchanges = st.builds(
    script,
    st.tuples(methods, targets, heads, USERS),
    mostly(bodies, st.none()),
    st.tuples(statuses, answer_heads),
    data,
    mostly(endings, st.none()),
    st.sampled_from([0, 0, 0, 40]),
)
scripts = st.lists(exchanges, min_size=2, max_size=8)
turns = st.lists(st.integers(0, 7), max_size=50)


def interleaved(all_scripts: list[list[tuple[Any, ...]]], order: list[int]) -> list[tuple[Any, ...]]:
    """The steps of several exchanges, each with the number of its exchange, in this order of turns."""
    left = {number: list(steps) for number, steps in enumerate(all_scripts)}
    merged = []
    for turn in [*order, *(number for number, steps in left.items() for _ in steps)]:
        steps = left[turn % len(left)]
        if steps:
            kind, *content = steps.pop(0)
            merged.append((kind, turn % len(left), *content))
    return merged


class Player:
    """Plays steps, and counts the calls that must be on record."""

    def __init__(self, watch: TapWatch) -> None:
        self.watch = watch
        self.open: dict[int, HttpExchange] = {}
        self.begun: list[str] = []

    def play(self, step: tuple[Any, ...]) -> None:
        kind, *content = step
        if kind == "begin":
            at, method, target, fields, user = content
            self.open[at] = self.watch.tap.exchange(method, target, fields, user_id=user)
        elif kind == "expire":
            self.watch.seconds += content[1]
            self.watch.tap.expire()
        elif (exchange := self.open.get(content[0])) is not None:
            self.play_on(exchange, kind, content[1:])

    def play_on(self, exchange: HttpExchange, kind: str, content: list[Any]) -> None:
        if kind == "ask":
            self.ask(exchange, content[0])
        elif kind == "head":
            exchange.response_head(*content)
        elif kind == "data":
            exchange.response_data(content[0])
        else:
            getattr(exchange, kind)()

    def ask(self, exchange: HttpExchange, body: Any) -> None:
        messages = body if isinstance(body, list) else [body]
        tools = []
        for message in messages:
            if isinstance(message, dict) and message.get("method") == "tools/call":
                tools.append(f"tool-{len(self.begun) + len(tools)}")
                message["params"] = {"name": tools[-1]}
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        before = self.watch.statistics
        is_read = exchange.request.method == "POST" and not exchange.is_over and not exchange._is_complete
        exchange.request_data(text)
        exchange.request_end()
        if is_read and self.watch.statistics.passed_over == before.passed_over and exchange.request.coding != b"gzip":
            self.begun += [message["params"]["name"] for message in messages if tools and is_call(message)]


def is_call(message: dict[str, Any]) -> bool:
    return message.get("method") == "tools/call" and message["id"] is not None


ODD_HEAD = script(("GET", "//[", [(b"content-type", b"\xff")], None), None, (0, []), [("data", b"")], None, 0)


@settings(max_examples=200)
@given(scripts, turns)
@example([ODD_HEAD], [])
def test_every_call_that_began_is_recorded_once_and_nothing_raises_or_grows(
    all_scripts: list[list[tuple[Any, ...]]], order: list[int]
) -> None:
    bounds = {"max_exchanges": 3, "max_sessions": 2, "max_session_age": 30.0, "max_message": 500, "max_held": 900}
    watch = TapWatch(config={"max_pending": 2, "max_suspended": 2}, **bounds)
    player = Player(watch)
    for step in interleaved(all_scripts, order):
        player.play(step)
        statistics = watch.statistics
        assert statistics.internal_errors == 0
        assert statistics.open_exchanges <= 3
        assert statistics.sessions <= 2
        assert statistics.suspended_calls <= 2
        assert 0 <= watch.tap.budget.held <= 900
        open_or_recorded = statistics.open_calls + statistics.suspended_calls + statistics.recorded
        assert open_or_recorded == len(player.begun)
        groups = [group for session in watch.tap._sessions.values() for group in session.groups if group.is_detached]
        assert len(groups) <= 2 * 2
    watch.close()
    assert Counter(one.tool for one in watch.recorded) == Counter(player.begun)
    statistics = watch.statistics
    assert (statistics.open_calls, statistics.open_exchanges, statistics.sessions, watch.tap.budget.held) == (0, 0, 0, 0)
    assert len(watch.tap._idle) == 0


@settings(max_examples=50)
@given(scripts, turns, st.sampled_from([302, 307, 308]), st.sampled_from(["/mcp", "/m", "//["]))
def test_redirects_lose_nothing_either(
    all_scripts: list[list[tuple[Any, ...]]], order: list[int], status: int, target: str
) -> None:
    watch = TapWatch()
    player = Player(watch)
    for step in interleaved(all_scripts, order):
        player.play(("head", step[1], status, [(b"location", target.encode())]) if step[0] == "head" else step)
    watch.close()
    assert Counter(one.tool for one in watch.recorded) == Counter(player.begun)
    assert watch.statistics.internal_errors == 0
