"""An operation says where its call came from: client, server, protocol, session, transport and trace."""

from __future__ import annotations

from typing import Any

import pytest

from tests.watching import Watch
from trio_oplog import ConfigError, Context

Message = dict[str, Any]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
OTHER = f"00-{TRACE[::-1]}-{SPAN[::-1]}-00"
CLIENT_INFO = "io.modelcontextprotocol/clientInfo"
PROTOCOL = "io.modelcontextprotocol/protocolVersion"
SERVER_INFO = "io.modelcontextprotocol/serverInfo"


def call(request_id: Any = 1, method: str = "tools/call", **more: Any) -> Message:
    return {"id": request_id, "method": method} | more


def meta(**members: Any) -> Message:
    return {"params": {"_meta": members}}


def answer(request_id: Any = 1, **result: Any) -> Message:
    return {"id": request_id, "result": result}


def context(*steps: Message, **config: Any) -> Context | None:
    """The context of the only call of a session; requests of the client have a method and an id."""
    watch = Watch(**config)
    for step in steps:
        (watch.client if "method" in step and "id" in step else watch.server)(step)
    (op,) = watch.close()
    return op.context


def initialize(request_id: Any = 0, method: str = "initialize", **client: Any) -> Message:
    return {"id": request_id, "method": method, "params": {"clientInfo": client}}


def test_a_call_on_a_connection_of_which_nothing_is_known_has_no_context() -> None:
    assert context(call(), answer()) is None
    assert context(call(**meta(traceparent="nonsense")), answer()) is None


# The connection


@pytest.mark.parametrize("transport", ["stdio", "websocket", "http", "sse"])
def test_the_transport_is_the_configs(transport: str) -> None:
    assert context(call(), answer(), transport=transport) == Context(transport=transport)
    assert context(initialize(name="c"), call(), transport=transport) == Context(client="c", transport=transport)


def test_a_transport_that_nobody_knows_is_a_mistake() -> None:
    for wrong in ("tcp", "", 5):
        with pytest.raises(ConfigError) as caught:
            Watch(transport=wrong)
        assert caught.value.field == "transport"


@pytest.mark.parametrize(
    ("client", "shown"),
    [
        ({"name": "c", "version": "1.2"}, "c/1.2"),
        ({"name": "c"}, "c"),
        ({"name": "c", "version": ""}, "c"),
        ({"name": "c", "version": 5}, "c"),
        ({"name": "", "version": "1"}, None),
        ({"version": "1"}, None),
        ({"name": 5}, None),
        ({"name": "x" * 1_024, "version": "1"}, "x" * 1_024),
        ({"name": "x" * 1_020, "version": "123456"}, "x" * 1_020 + "/123"),
    ],
)
def test_a_client_introduces_itself_once_for_all_of_its_calls(client: Message, shown: str | None) -> None:
    assert context(initialize(**client), call()) == (Context(client=shown) if shown else None)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            {"serverInfo": {"name": "s", "version": "2"}, "protocolVersion": "2025-11-25"},
            {"server": "s/2", "protocol": "2025-11-25"},
        ),
        ({"_meta": {SERVER_INFO: {"name": "s", "version": "2"}}}, {"server": "s/2"}),
        ({"serverInfo": {"version": "1"}, "_meta": {SERVER_INFO: {"name": "t"}}}, {"server": "t"}),
        ({"serverInfo": {"name": "s"}, "_meta": {SERVER_INFO: {"name": "t"}}}, {"server": "s"}),
        ({"agentInfo": {"name": "agent", "version": "3"}, "protocolVersion": 1}, {"server": "agent/3", "protocol": "1"}),
        ({"userAgent": "vscode/0.171.0 (Debian 13; x86_64) term"}, {"server": "codex/0.171.0"}),
        ({"userAgent": "vscode/0.171.0"}, {"server": "codex/0.171.0"}),
        ({"userAgent": "vscode"}, {}),
        ({"userAgent": "vscode/"}, {}),
        ({"userAgent": 5, "protocolVersion": None}, {}),
        ({"protocolVersion": ""}, {}),
        ({}, {}),
    ],
)
@pytest.mark.parametrize("method", ["initialize", "server/discover"])
def test_a_server_says_who_it_is_in_the_way_of_its_protocol(result: Message, expected: Message, method: str) -> None:
    assert context({"id": 0, "method": method}, answer(0, **result), call()) == (Context(**expected) if expected else None)


def test_what_is_known_when_the_call_ends_counts() -> None:
    known = context(call(), initialize(name="c"), answer(0, serverInfo={"name": "s"}, protocolVersion="p"), answer())
    assert known == Context(client="c", server="s", protocol="p")
    assert context(call(), answer(), initialize(name="c"), answer(0, serverInfo={"name": "s"})) is None


def test_a_second_handshake_replaces_only_what_it_says() -> None:
    steps = [
        initialize(name="c"),
        answer(0, serverInfo={"name": "s"}, protocolVersion="p"),
        initialize(2, version="1"),
        answer(2, protocolVersion="q"),
        call(),
    ]
    assert context(*steps) == Context(client="c", server="s", protocol="q")


@pytest.mark.parametrize("reply", [{"id": 0}, {"id": 0, "error": None}, {"id": 1, "result": {"serverInfo": {"name": "s"}}}])
def test_what_is_no_answer_to_the_handshake_says_nothing(reply: Message) -> None:
    late = answer(0, serverInfo={"name": "s"})
    assert context({"id": 0, "method": "initialize"}, reply, call(5)) is None
    assert context({"id": 0, "method": "initialize"}, reply, late, call(5)) == Context(server="s")


@pytest.mark.parametrize("reply", [{"id": 0, "error": {}}, {"id": 0, "result": None}, {"id": 0, "result": 5}])
def test_a_handshake_that_failed_is_over(reply: Message) -> None:
    assert context({"id": 0, "method": "initialize"}, reply, answer(0, serverInfo={"name": "s"}), call(5)) is None


def test_a_handshake_without_an_id_introduces_nobody() -> None:
    assert context({"method": "initialize", "params": {"clientInfo": {"name": "c"}}}, call()) is None


def test_items_and_calls_of_agents_have_what_is_known_of_their_connection() -> None:
    watch = Watch(transport="stdio")
    watch.client(initialize(name="c"))
    watch.server({"id": 0, "result": {"userAgent": "c/1 (x)"}})
    watch.server({"method": "item/completed", "params": {"item": {"type": "webSearch"}}})
    update = {"sessionUpdate": "tool_call", "toolCallId": "a", "status": "completed"}
    watch.server({"method": "session/update", "params": {"sessionId": "s", "update": update}})
    known = Context(client="c", server="codex/1", transport="stdio")
    assert [op.context for op in watch.recorded] == [known, Context(**vars_of(known) | {"session": "s"})]


def vars_of(known: Context) -> dict[str, Any]:
    return {"client": known.client, "server": known.server, "transport": known.transport}


# The call itself


def test_what_a_call_says_of_itself_goes_before_what_its_connection_says() -> None:
    own = meta(**{CLIENT_INFO: {"name": "d", "version": "2"}, PROTOCOL: "2026-07-28", "traceparent": TRACEPARENT})
    served = answer(_meta={SERVER_INFO: {"name": "t", "version": "4"}})
    handshake = [initialize(name="c"), answer(0, serverInfo={"name": "s"}, protocolVersion="p")]
    assert context(*handshake, call(**own), served) == Context(
        client="d/2", server="t/4", protocol="2026-07-28", trace_id=TRACE, parent_span_id=SPAN
    )
    assert context(*handshake, call(**meta(**{PROTOCOL: "q"})), answer()) == Context(client="c", server="s", protocol="q")
    assert context(*handshake, call(**meta(**{CLIENT_INFO: {"name": "d"}}))) == Context(client="d", server="s", protocol="p")
    assert context(call(**meta(**{CLIENT_INFO: {"name": ""}, PROTOCOL: 5}))) is None


def test_what_the_first_request_of_a_call_says_holds_for_its_rounds() -> None:
    watch = Watch()
    watch.client(call(**meta(traceparent=TRACEPARENT)))
    watch.server(answer(resultType="input_required", requestState="s"))
    again = {"_meta": {"traceparent": OTHER, CLIENT_INFO: {"name": "d"}}, "requestState": "s"}
    watch.client(call(2, params=again))
    watch.server(answer(2, _meta={SERVER_INFO: {"name": "t"}}))
    (op,) = watch.recorded
    assert op.context == Context(server="t", trace_id=TRACE, parent_span_id=SPAN)


@pytest.mark.parametrize(
    ("end", "server"),
    [
        ([{"method": "notifications/tasks", "params": {"taskId": "t", "status": "cancelled"}}], None),
        (
            [
                {"id": 2, "method": "tasks/get", "params": {"taskId": "t"}},
                answer(2, status="cancelled", _meta={SERVER_INFO: {"name": "t", "version": "4"}}),
            ],
            "t/4",
        ),
        (
            [
                {"id": 2, "method": "tasks/get", "params": {"taskId": "t"}},
                answer(
                    2,
                    status="completed",
                    result={"_meta": {SERVER_INFO: {"name": "in"}}},
                    _meta={SERVER_INFO: {"name": "t", "version": "4"}},
                ),
            ],
            "in",
        ),
        (
            [
                {"id": 2, "method": "tasks/result", "params": {"taskId": "t"}},
                answer(2, _meta={SERVER_INFO: {"name": "t"}}),
            ],
            "t",
        ),
    ],
)
def test_the_result_that_ends_a_task_says_whose_it_was(end: list[Message], server: str | None) -> None:
    watch = Watch()
    watch.client(call())
    watch.server(answer(resultType="task", taskId="t"))
    for step in end:
        (watch.client if "method" in step and "id" in step else watch.server)(step)
    (op,) = watch.recorded
    assert op.context == (Context(server=server) if server else None)
    assert op.env_id == (server.partition("/")[0] if server else "local")


def test_the_answer_that_hands_out_a_task_says_where_it_runs() -> None:
    watch = Watch()
    watch.client(call())
    watch.server(answer(resultType="task", taskId="t", _meta={SERVER_INFO: {"name": "t"}}))
    assert watch.close()[0].env_id == "t"


# The trace


@pytest.mark.parametrize(
    ("traceparent", "is_kept"),
    [
        (TRACEPARENT, True),
        (f"01-{TRACE}-{SPAN}-ff", True),
        (f"cc-{TRACE}-{SPAN}-01-what-will-be", True),
        (f"fe-{TRACE}-{SPAN}-01-", True),
        (f"00-{TRACE}-{SPAN}-01-more", False),
        (f"00-{TRACE}-{SPAN}-01-", False),
        (f"cc-{TRACE}-{SPAN}-01.more", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"0g-{TRACE}-{SPAN}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        (f"00-{TRACE[1:]}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN}0-01", False),
        (f"00-{TRACE}-{SPAN}-1", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f" {TRACEPARENT}", False),
        (f"{TRACEPARENT}\n", False),
        (TRACEPARENT.replace("4", "\u0664"), False),
        ("", False),
        (5, False),
        (None, False),
    ],
)
def test_a_trace_is_kept_where_it_is_well_formed(traceparent: Any, is_kept: bool) -> None:
    expected = Context(trace_id=TRACE, parent_span_id=SPAN) if is_kept else None
    assert context(call(**meta(traceparent=traceparent))) == expected
    for method in ("mcpServer/tool/call", "command/exec", "fs/copy"):
        assert context(call(method=method, **meta(traceparent=traceparent))) == expected
        assert context(call(method=method, trace={"traceparent": traceparent})) == expected


def test_the_trace_of_a_codex_request_goes_before_that_of_its_params() -> None:
    first = Context(trace_id=TRACE, parent_span_id=SPAN)
    for method in ("mcpServer/tool/call", "process/spawn"):
        assert context(call(method=method, trace={"traceparent": TRACEPARENT}, **meta(traceparent=OTHER))) == first
        for nothing in ({"traceparent": "nonsense"}, {}, None):
            assert context(call(method=method, trace=nothing, **meta(traceparent=TRACEPARENT))) == first
