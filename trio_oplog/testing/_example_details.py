"""Examples that are stories: of items and turns, of ACP, and of what else a record says.

Each is told by the same words as the scenarios of ``sessions()``, with nothing left to choose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from trio_oplog._operation import Outcome
from trio_oplog.testing import _acp_scenarios as acp
from trio_oplog.testing._answers import LINK
from trio_oplog.testing._approval_scenarios import (
    own_item,
)
from trio_oplog.testing._builder import CLIENT, SessionBuilder
from trio_oplog.testing._byte_scenarios import DAMAGED, answer_in_bytes, call_in_bytes
from trio_oplog.testing._call_scenarios import acp_handshake, codex_handshake, mcp_handshake
from trio_oplog.testing._choices import ChoiceSource
from trio_oplog.testing._context_texts import BAD_TRACEPARENTS, GOOD_TRACEPARENTS, PROTOCOL, TRACED
from trio_oplog.testing._example_stories import Row, Story, answer, ask_at_the_end_of_its_turn, call, item
from trio_oplog.testing._execution_scenarios import EXECUTIONS, execute, exit_process, exited, respond
from trio_oplog.testing._expecting import Peers
from trio_oplog.testing._facts import Arguments, CallFacts, Ending, OpenCall, Said
from trio_oplog.testing._item_scenarios import complete_item, complete_turn, start_item
from trio_oplog.testing._item_texts import ITEM_TYPES, ItemKey
from trio_oplog.testing._json_text import SpelledId, an_object, quoted
from trio_oplog.testing._laws import Law
from trio_oplog.testing._session import Feature
from trio_oplog.testing._turn_scenarios import close_thread, start_turn

_PLAIN: Final = b""
_OK: Final = '{"content":[{"type":"text","text":"ok"}]}'

# -- items, turns and what clients run ------------------------------------------------------------------------------------


def _repeated(session: SessionBuilder, key: ItemKey) -> None:
    at = session.fresh_ms()
    for each in (start_item, start_item, complete_item, complete_item, start_item):
        each(session, ChoiceSource(_PLAIN), key, at)


def _again_later(session: SessionBuilder) -> None:
    key = own_item(session, "webSearch")
    for at in (5, 6):
        start_item(session, ChoiceSource(_PLAIN), key, at)
        complete_item(session, ChoiceSource(_PLAIN), key, at)


def _left(how: Callable[[SessionBuilder, ItemKey], None], item_type: str = "mcpToolCall") -> Story:
    return item(item_type, how)


def _new_turn(session: SessionBuilder, key: ItemKey) -> None:
    start_turn(session, key.thread_id, "another")


def _same_turn(session: SessionBuilder, key: ItemKey) -> None:
    start_turn(session, key.thread_id, key.turn_id)


def _other_thread(session: SessionBuilder, _key: ItemKey) -> None:
    start_turn(session, "another", "turn")
    close_thread(session, "yet another")


def _closed(session: SessionBuilder, key: ItemKey) -> None:
    close_thread(session, key.thread_id)


def _execution(method: str) -> Story:
    def story(session: SessionBuilder) -> None:
        spelled = execute(session, method)
        error = '{"code":-32600,"message":"no"}'
        respond(session, spelled, "error", error, Ending(text="no", outcome=Outcome.RPC_ERROR, error_code=-32600))

    return story


def _command(code: int) -> Story:
    def story(session: SessionBuilder) -> None:
        spelled = execute(session, "command/exec")
        result = f'{{"exitCode":{code},"stdout":"out","stderr":"err"}}'
        respond(session, spelled, "result", result, exited(code, "outerr"))

    return story


def _process(session: SessionBuilder) -> None:
    ids = {handle: execute(session, "process/spawn", ("processHandle", quoted(handle))) for handle in ("a", "b", "c")}
    for spelled in ids.values():
        session.respond(spelled, "result", "{}")
    exit_process(session, "b", ids["b"], 4)
    exit_process(session, "a", ids["a"], 0)


def _resource(session: SessionBuilder) -> None:
    contents = '{"contents":[{"uri":"demo://a","text":"one"},{"uri":"demo://b","text":" two"}]}'
    respond(session, execute(session, "mcpServer/resource/read"), "result", contents, Ending(text="one two"))


_ITEMS: Final[tuple[Row, ...]] = (
    *((Law.SAME_EXECUTION, {}, lambda session, kind=kind: _repeated(session, own_item(session, kind))) for kind in ITEM_TYPES),
    (Law.SAME_EXECUTION, {}, _again_later),
    *((Law.TURN_ENDS, {}, _left(how)) for how in (_new_turn, _same_turn, _other_thread, _closed)),
    *((Law.TURN_ENDS, {}, _left(how, "commandExecution")) for how in (_new_turn, _closed, ask_at_the_end_of_its_turn)),
    (Law.TURN_ENDS, {}, _left(lambda session, key: complete_turn(session, key.thread_id, key.turn_id))),
    (Law.SOURCE, {}, lambda session: complete_item(session, ChoiceSource(b"\0\2"), own_item(session, "commandExecution"), 5)),
    *((Law.CLIENT_EXECUTIONS, {}, _execution(method)) for method in EXECUTIONS),
    *((Law.CLIENT_EXECUTIONS, {}, _command(code)) for code in (0, 3)),
    (Law.CLIENT_EXECUTIONS, {}, _process),
    (Law.CLIENT_EXECUTIONS, {}, _resource),
)

# -- ACP -----------------------------------------------------------------------------------------------------------------


def _said(session: SessionBuilder, status: str | None = None, **said: str) -> tuple[list[tuple[str, str | None]], Said]:
    known = Said(**said)
    meta = None if known.name is None else f'{{"claudeCode":{{"toolName":{quoted(known.name)}}}}}'
    texts = None if known.text is None else (known.text,)
    output = None if known.output is None else quoted(known.output)
    told = acp.members(session, status, known, meta=meta, raw_input=known.raw_input, texts=texts, raw_output=output)
    return told, known


def _agent(*updates: tuple[str | None, dict[str, str]], first: str = "tool_call") -> Story:
    """A call of an agent's, from update to update: the status, and what is said."""

    def story(session: SessionBuilder) -> None:
        for number, (status, said) in enumerate(updates):
            update = "tool_call_update" if number else first
            acp.tell(session, "sess-1", "tool-1", _said(session, status, **said), status, update=update)

    return story


def _repeated_call(session: SessionBuilder) -> None:
    for status, title in (("pending", "one"), ("in_progress", "two"), ("completed", "three"), ("completed", "four")):
        said = _said(session, status, title=title)
        acp.tell(session, "sess-1", "tool-1", said, status, update="tool_call")


def _two_agents(session: SessionBuilder) -> None:
    for session_id in ("sess-1", "sess-2"):
        acp.tell(session, session_id, "tool-1", _said(session, "pending"), "pending", update="tool_call")
    acp.tell(session, "sess-2", "tool-1", _said(session, "completed", text="ok"), "completed")


def _permission(outcome: str, decision: str, *, refuses: bool, announced: bool, ends: bool) -> Story:
    def story(session: SessionBuilder) -> None:
        prompted = acp.prompt(session, "sess-1")
        said = _said(session, "pending", title="rm", raw_input='{"a":1}')
        if announced:
            acp.tell(session, "sess-1", "tool-1", said, "pending", update="tool_call")
        asked = acp.ask_permission(session, "sess-1", "tool-1", said)
        acp.choose(session, asked, outcome, decision, refuses=refuses)
        if ends:
            acp.tell(session, "sess-1", "tool-1", _said(session, "completed", text="ok"), "completed")
        acp.end_prompt(session, prompted, "sess-1")

    return story


def _unanswered_permission(session: SessionBuilder) -> None:
    prompted = acp.prompt(session, "sess-1")
    acp.ask_permission(session, "sess-1", "tool-1", _said(session, kind="execute"))
    acp.end_prompt(session, prompted, "sess-1", fails=True)
    acp.tell(session, "sess-1", "tool-1", _said(session, "completed"), "completed")


def _prompt_of_another_session(session: SessionBuilder) -> None:
    prompted = acp.prompt(session, "sess-2")
    acp.tell(session, "sess-1", "tool-1", _said(session, "pending"), "pending", update="tool_call")
    acp.end_prompt(session, prompted, "sess-2")


def _loaded(session: SessionBuilder) -> None:
    loading = session.request("session/load", '{"sessionId":"sess-1","cwd":"/","mcpServers":[]}')
    session.oracle.history.add("sess-1")
    for call_id, status in (("old-1", "completed"), ("old-2", "pending")):
        acp.tell(session, "sess-1", call_id, _said(session, status), status, update="tool_call")
    session.respond(loading, "result", "{}")
    session.oracle.history.discard("sess-1")
    acp.tell(session, "sess-1", "new-1", _said(session, "completed", text="ok"), "completed", update="tool_call")


_ACP: Final[tuple[Row, ...]] = (
    (Law.ACP_CALLS, {}, _agent(("pending", {"kind": "execute", "title": "ls"}), ("completed", {"text": "ok"}))),
    (
        Law.ACP_CALLS,
        {},
        _agent(("pending", {"raw_input": "{}"}), (None, {"raw_input": '{ "p":1}'}), ("failed", {"output": "no"})),
    ),
    (Law.ACP_CALLS, {}, _agent(("pending", {"kind": "read"}), (None, {"name": "Read", "text": "early"}), ("completed", {}))),
    (Law.ACP_CALLS, {}, _agent(("pending", {"output": "early"}), ("completed", {"text": "late", "output": "raw"}))),
    (Law.ACP_CALLS, {}, _agent(("pending", {}), ("completed", {}), ("completed", {}))),
    (Law.ACP_CALLS, {}, _agent(("completed", {"text": "ok"}), first="tool_call_update")),
    (Law.ACP_CALLS, {}, _agent(("pending", {}))),
    (Law.ACP_CALLS, {"record_items": False}, _agent(("pending", {}), ("completed", {}))),
    (Law.ACP_CALLS, {}, _repeated_call),
    (Law.ACP_CALLS, {}, _two_agents),
    (Law.ACP_CALLS, {}, _prompt_of_another_session),
    (Law.ACP_CALLS, {}, _unanswered_permission),
    *(
        (
            Law.REFUSED if refuses else Law.APPROVALS,
            {},
            _permission(outcome, decision, refuses=refuses, announced=announced, ends=ends),
        )
        for outcome, decision, refuses in acp.CHOICES
        for announced, ends in ((False, True), (True, False))
    ),
    (Law.ACP_HISTORY, {}, _loaded),
)

# -- who is who, ids, bytes and gists ----------------------------------------------------------------------------------------


def _introduced(hello: Callable[[SessionBuilder], None]) -> Story:
    def story(session: SessionBuilder) -> None:
        hello(session)
        answer(session, call(session))
        complete_item(session, ChoiceSource(_PLAIN), own_item(session, "webSearch"), 5)

    return story


def _discovered(session: SessionBuilder) -> None:
    """A server of 2026-07-28 says who it is in ``_meta``."""
    info = '{"io.modelcontextprotocol/serverInfo":{"name":"demo","version":"2"}}'
    session.respond(session.request("server/discover", "{}"), "result", f'{{"supportedVersions":[],"_meta":{info}}}')
    session.oracle.peers = Peers(server="demo/2", server_name="demo")
    answer(session, call(session))


def _with_meta(meta: str, *, beside: str = "", method: str = "tools/call", **said: Any) -> Story:
    """A call that says in its ``_meta``, or beside its params, where it comes from."""

    def story(session: SessionBuilder) -> None:
        name = "name" if method == "tools/call" else "tool"
        text = f'{{"method":{quoted(method)},"id":1{beside},"params":{{"{name}":"echo","_meta":{meta}}}}}'
        session.say(CLIENT, text)
        facts = CallFacts(source="sdk", tool="echo", request_id="1", arguments=Arguments(), **said)
        dialect = Feature.MCP if method == "tools/call" else Feature.CODEX
        session.oracle.begin(OpenCall(key=SpelledId("1").key, facts=facts, began=0, dialect=dialect))
        answer(session, SpelledId("1"))

    return story


def _named_by_its_answer(session: SessionBuilder) -> None:
    result = '{"content":[],"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"named","version":"2"}}}'
    answer(session, call(session), result, text="", server="named", server_version="2")


def _parent(traceparent: str) -> str:
    return an_object([("traceparent", quoted(traceparent))])


def _other_type(asked: str, answered: str, *others: str) -> Story:
    def story(session: SessionBuilder) -> None:
        for text in (asked, *others):
            call(session, SpelledId(text))
        answer(session, SpelledId(answered))

    return story


def _damaged_call(damaged: tuple[bytes, str], *, in_arguments: bool) -> Story:
    return lambda session: answer(session, call_in_bytes(session, damaged, in_arguments=in_arguments))


def _damaged_answer(damaged: tuple[bytes, str], *, in_text: bool) -> Story:
    return lambda session: answer_in_bytes(session, call(session), damaged, in_text=in_text)


def _gist(result: str, text: str, **ending: Any) -> Story:
    return lambda session: answer(session, call(session), result, text=text, **ending)


def _wrong(error: str, text: str, code: int | None = None) -> Story:
    def story(session: SessionBuilder) -> None:
        spelled = call(session)
        session.respond(spelled, "error", error)
        session.oracle.answer(spelled.key, Ending(text=text, outcome=Outcome.RPC_ERROR, error_code=code))

    return story


def _cancelled(reason: str, text: str) -> Story:
    def story(session: SessionBuilder) -> None:
        spelled = call(session)
        params = an_object([("requestId", spelled.text), ("reason", reason)])
        session.notify("notifications/cancelled", params, direction=CLIENT)
        session.oracle.end(session.oracle.with_key(spelled.key)[0], Ending(text=text, outcome=Outcome.CANCELLED))

    return story


_EMBEDDED: Final = '{"type":"resource","resource":{"uri":"demo://a","text":"inside"}}'
_CLIENT_META: Final = an_object(
    [
        ("io.modelcontextprotocol/protocolVersion", quoted(PROTOCOL)),
        ("io.modelcontextprotocol/clientInfo", '{"name":"cli","version":"2"}'),
    ]
)
_FIELDS: Final[tuple[Row, ...]] = (
    *(
        (Law.CONTEXT, {}, _introduced(hello))
        for hello in (
            codex_handshake,
            acp_handshake,
            lambda session: mcp_handshake(session, "initialize", "everything"),
            lambda session: mcp_handshake(session, "server/discover", "everything", None),
        )
    ),
    (Law.CONTEXT, {"transport": "stdio"}, lambda session: answer(session, call(session))),
    (Law.CONTEXT, {}, _with_meta(_CLIENT_META, client="cli/2", protocol=PROTOCOL)),
    (Law.CONTEXT, {}, _named_by_its_answer),
    (Law.CONTEXT, {}, _discovered),
    *((Law.TRACE, {}, _with_meta(_parent(good), **TRACED)) for good in GOOD_TRACEPARENTS),
    *((Law.TRACE, {}, _with_meta(_parent(bad))) for bad in BAD_TRACEPARENTS),
    (
        Law.TRACE,
        {},
        _with_meta(
            _parent(f"00-{'1' * 32}-{'2' * 16}-01"),
            beside=f',"trace":{_parent(GOOD_TRACEPARENTS[0])}',
            method="mcpServer/tool/call",
            **TRACED,
        ),
    ),
    (Law.RESPELLED_IDS, {}, _other_type("7", '"7"')),
    (Law.RESPELLED_IDS, {}, _other_type('"7"', "7")),
    (Law.RESPELLED_IDS, {}, _other_type("9007199254740993", '"9007199254740993"', "9007199254740992")),
    (Law.RESPELLED_IDS, {}, _other_type("7", '"7"', "7")),
    (Law.RESPELLED_IDS, {}, _other_type("1.5", '"1.5"')),
    (Law.RESPELLED_IDS, {}, _other_type("7", '"07"')),
    *((Law.REPLACED_BYTES, {}, _damaged_call(each, in_arguments=inside)) for each in DAMAGED for inside in (True, False)),
    *((Law.REPLACED_BYTES, {}, _damaged_answer(each, in_text=inside)) for each in DAMAGED for inside in (True, False)),
    (Law.GIST, {}, _gist(f'{{"content":[{_EMBEDDED},{LINK}]}}', "inside", content_types=("resource", "resource_link"))),
    (Law.GIST, {}, _gist('{"content":[],"structuredContent":{ "a":1.0}}', '{ "a":1.0}')),
    (Law.GIST, {}, _gist('{"toolResult":[1]}', "[1]")),
    (Law.GIST, {}, _gist(f'{{"content":[{LINK},{LINK}]}}', "file:///a\nfile:///a", content_types=("resource_link",) * 2)),
    (Law.GIST, {}, _gist('{"content":[{"type":"text","text":""}],"structuredContent":{"a":1}}', "")),
    (Law.GIST, {}, _gist('{"content":[{"type":"text","text":"t"}],"structuredContent":{"a":1}}', "t")),
    (Law.GIST, {}, _gist('{"content":"plain"}', "plain")),
    (Law.GIST, {}, _gist('{"content":{"type":"text","text":"alone"}}', "alone")),
    (Law.GIST, {}, _gist('"bare"', "bare")),
    (Law.GIST, {}, _gist('{"content":[],"isError":"True"}', "", outcome=Outcome.TOOL_ERROR)),
    (Law.GIST, {}, _wrong('"broken"', "broken")),
    (Law.GIST, {}, _wrong("[1, 2]", "[1, 2]")),
    (Law.GIST, {}, _wrong('{"code":7,"message":{"why": 1}}', '{"why": 1}', 7)),
    (Law.GIST, {}, _wrong('{"code":"7","message":"m"}', "m")),
    (Law.CANCEL_REASON, {}, _cancelled('"pressed stop"', "pressed stop")),
    (Law.CANCEL_REASON, {}, _cancelled("7", "")),
)

DETAILS: Final[tuple[Row, ...]] = (*_ITEMS, *_ACP, *_FIELDS)
