"""Calls from their beginnings to their records, and who let them run.

A call is a plain dict, and so is an *ask*: somebody was asked about a call, or decided about it unasked.  The ``connection`` of a
call is the one that it began on, and ``on`` is the one that its last request came on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.naive.gist import fault, implementation, is_failed, said
from tests.naive.reading import Key, Message, arguments_of, name, respelled, summary_of

Call = dict[str, Any]
Ask = dict[str, Any]
SERVER_INFO = "io.modelcontextprotocol/serverInfo"
NO_ERROR = (None, "input_required", "unfetched")


@dataclass
class Log:
    """What the connections of one gateway share: the settings, the calls that wait off their connections, the records."""

    source: str
    workspace_id: str
    user_id: str | None
    transport: str | None
    default_env_id: str
    record_items: bool
    args_max_bytes: int
    result_max_bytes: int
    records: list[dict[str, Any]] = field(default_factory=list)
    begun: int = 0


@dataclass
class Connection:
    """What is known of one connection."""

    log: Log
    waiting: list[Call]
    """Calls that became tasks, or that wait for the client to come back with input.  Connections may share the list."""
    open: list[Call] = field(default_factory=list)
    """The other open calls, the oldest first."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    """Requests of the client that were not answered yet."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Requests of the server that were not answered yet."""
    client: str | None = None
    server: str | None = None
    protocol: str | None = None
    mcp_server_name: str | None = None
    session: str | None = None
    announced_protocol: str | None = None
    """What requests say beside their messages."""
    asking: list[Call] | None = None
    """The calls that the server can be asking about now, where the stream that it asks on tells."""
    items_begun: list[Any] = field(default_factory=list)
    items_ended: list[Any] = field(default_factory=list)
    keys_ended_by_turn: list[Any] = field(default_factory=list)
    early_asks: list[tuple[Any, Ask]] = field(default_factory=list)
    """Asks about items that were not announced yet."""
    hooks: dict[Any, float] = field(default_factory=dict)
    acp_ended: list[Any] = field(default_factory=list)


def new_call(
    connection: Connection,
    t: float,
    *,
    key: Any,
    kind: str,
    tool: str | None,
    data: bytes | None,
    value: Any = None,
    lossy: bool = False,
    env_id: str | None = None,
    context: dict[str, Any] | None = None,
    **facts: Any,
) -> Call:
    """A call that begins.  ``facts`` that are ``None`` are left out of the record.

    Args:
        connection: Where it begins.
        t: When.
        key: What its end is found by.
        kind: What sort of call it is: ``"mcp"``, ``"direct"``, ``"item"`` or ``"acp"``.
        tool: What is called.
        data: The bytes of its arguments.
        value: Its arguments as a value, to compare with.
        lossy: Whether its frame was no UTF-8.
        env_id: Where it runs, as far as the call itself says so.
        context: What the call itself says about where it comes from.
    """
    log = connection.log
    log.begun += 1
    facts["user_id"] = log.user_id or facts.get("user_id")
    record = {"source": log.source, "tool": tool or "unknown"} | facts | arguments_of(data, log.args_max_bytes, lossy=lossy)
    return {
        "key": key,
        "kind": kind,
        "connection": connection,
        "on": connection,
        "began": log.begun,
        "began_t": t,
        "record": {key: value for key, value in record.items() if value is not None},
        "env_id": env_id,
        "context": {key: value for key, value in (context or {}).items() if value is not None},
        "value": value,
        "meta": {},
        "asks": [],
        "rounds": 1,
    }


def begin(call: Call) -> None:
    """Add a call to the open ones.  Calls that share a key while they are open may be ended in the wrong order."""
    open_calls = call["on"].open
    for other in open_calls:
        if other["key"] == call["key"]:
            other["meta"]["duplicate_id"] = call["meta"]["duplicate_id"] = True
    open_calls.append(call)


def finish(
    call: Call,
    t: float,
    *,
    outcome: str | None = None,
    text: str | None = None,
    lossy: bool = False,
    result_meta: Any = None,
    **meta: Any,
) -> None:
    """End a call and write its record.

    Args:
        call: The call.
        t: When it ended.
        outcome: What became of it; ``None`` for success.
        text: What came back.
        lossy: Whether that stood in a frame that was no UTF-8.
        result_meta: The ``_meta`` of the result that ends it.
        **meta: More of the record's ``result_meta``; what is ``None`` is left out.
    """
    connection, log = call["connection"], call["connection"].log
    for calls in (call["on"].open, connection.waiting):
        calls[:] = [other for other in calls if other is not call]
    if is_refused(call):
        outcome = "declined"
    info = result_meta.get(SERVER_INFO) if isinstance(result_meta, dict) else None
    info = info if isinstance(info, dict) else {}
    context = {"client": connection.client, "server": connection.server, "protocol": connection.protocol}
    context["protocol"] = connection.protocol or connection.announced_protocol
    context |= {"session": connection.session, "transport": log.transport} | call["context"]
    context["server"] = implementation(info) or context["server"]
    summary, cut = summary_of(text, log.result_max_bytes)
    meta |= cut | call["meta"]
    meta |= {"outcome": outcome, "waited_ms": waited_ms(call, t), "rounds": call["rounds"] if call["rounds"] > 1 else None}
    if lossy and "\ufffd" in summary.get("result_summary", ""):
        meta["replaced"] = True
    record = call["record"] | summary | {"workspace_id": log.workspace_id, "is_error": outcome not in NO_ERROR}
    # What is no request to the server, an item or an agent's tool call, did not run there.
    shaken = None if call["kind"] in ("item", "acp") else connection.mcp_server_name
    record["env_id"] = call["env_id"] or name(info.get("name")) or shaken or log.default_env_id
    parts = {"result_meta": meta, "context": context, "approval": approval_of(call, t)}
    for part, members in parts.items():
        if said_members := {key: value for key, value in members.items() if value is not None}:
            record[part] = said_members
    record |= {"duration_ms": milliseconds(t - call["began_t"])}
    log.records.append(record | {"_began_t": call["began_t"], "_ended_t": t, "_began": call["began"]})


def finish_as_answered(call: Call, message: Message, t: float, *path: str | int, **meta: Any) -> None:
    """End a call with the result or the error that stands at a place of a message: the error, if there are both."""
    if problem := fault(message, *path, "error"):
        text, code = problem
        outer = message.get("result", "_meta")
        finish(call, t, outcome="rpc_error", text=text, lossy=message.lossy, result_meta=outer, error_code=code, **meta)
        return
    result = message.get(*path, "result")
    text, types = said(message, *path, "result")
    asks_more = isinstance(result, dict) and result.get("resultType") == "input_required"
    outcome = "tool_error" if is_failed(result) else "input_required" if asks_more else None
    inner, outer = message.get(*path, "result", "_meta"), message.get("result", "_meta")
    result_meta = inner if isinstance(inner, dict) and SERVER_INFO in inner else outer
    finish(call, t, outcome=outcome, text=text, lossy=message.lossy, result_meta=result_meta, content_types=types, **meta)


def milliseconds(seconds: float) -> int:
    return max(0, int(seconds * 1000))


# Requests and their answers


def is_answer(message: Message) -> bool:
    """Whether a message answers a request: neither a result nor an error is no answer."""
    answers = "result" in message.value or message.value.get("error") is not None
    return message.value.get("method") is None and answers


def take_request(requests: list[dict[str, Any]], key: Key | None) -> tuple[dict[str, Any] | None, bool]:
    """Take the request that an answer with this id is for off the list, and say whether the id was respelled.

    Ids are compared exactly.  Where that finds nothing, the same integer in the other type will do, if there is only one.
    """
    exact = [request for request in requests if request["key"] == key]
    loose = [request for request in requests if key is not None and request["key"] == respelled(key)]
    # A request that is about nothing recorded comes last: of two that share an id, the answer is rather the call's.
    for request in sorted(exact, key=lambda request: request["kind"] == "other") or (loose if len(loose) == 1 else []):
        requests[:] = [other for other in requests if other is not request]
        return request, not exact
    return None, False


# Who let it run


def new_ask(kind: str, t: float, *, approval: bool = True, wait: bool = True, reason: Any = None, **more: Any) -> Ask:
    """Somebody is asked about a call, or decides about it.

    Args:
        kind: ``"request"`` to the client, ``"round"`` in an answer, ``"task"`` in a task's status, ``"review"`` or ``"hook"``.
        t: When.
        approval: Whether the record's ``approval`` tells of it.
        wait: Whether the call waits for a person meanwhile.
        reason: Why it is asked.
    """
    return {
        "kind": kind,
        "asked_t": t,
        "settled_t": None,
        "approval": approval,
        "wait": wait,
        "by": "none",
        "decision": None,
        "refuses": False,
        "reason": reason,
        "risk": None,
        **more,
    }


def settle(ask: Ask, t: float, **verdict: Any) -> None:
    """It was decided, or it is no longer to be decided.  What is said of it later comes too late."""
    if ask["settled_t"] is None:
        ask |= {"settled_t": t} | verdict


def is_busy(call: Call) -> bool:
    """Whether a request of the server about a call is open."""
    return any(ask["kind"] == "request" and ask["settled_t"] is None for ask in call["asks"])


def approvals_of(call: Call) -> list[Ask]:
    """What counts as an approval, in the order in which it was asked for.

    A hook that lets the question be asked, or reviewed, has decided nothing.
    """
    asks = [ask for ask in call["asks"] if ask["approval"]]
    return [
        ask
        for at, ask in enumerate(asks)
        if not (ask["decision"] == "allow" and ask["by"] == "hook" and any(later["kind"] != "hook" for later in asks[at + 1 :]))
    ]


def is_refused(call: Call) -> bool:
    """Whether the last decision was a refusal."""
    decided = [ask for ask in approvals_of(call) if ask["decision"] is not None]
    return bool(decided) and max(reversed(decided), key=lambda ask: ask["settled_t"])["refuses"]


def approval_of(call: Call, end_t: float) -> dict[str, Any]:
    asks = approvals_of(call)
    if not asks:
        return {}
    settled = [ask for ask in asks if ask["settled_t"] is not None]
    standing = asks[-1] if asks[-1]["settled_t"] is None else max(reversed(settled), key=lambda ask: ask["settled_t"])
    until = end_t if standing["settled_t"] is None else standing["settled_t"]
    return {
        "decision": name(standing["decision"]),
        "by": standing["by"],
        "waited_ms": milliseconds(min(until, end_t) - standing["asked_t"]),
        "reason": name(standing["reason"]),
        "risk": name(standing["risk"]),
        "count": len(asks) if len(asks) > 1 else None,
    }


def waited_ms(call: Call, end_t: float) -> int | None:
    """For how long a call waited for people: at once for two of them counts once.  ``None`` when it waited for nobody."""
    waits = [(ask["asked_t"], end_t if ask["settled_t"] is None else ask["settled_t"]) for ask in call["asks"] if ask["wait"]]
    if not waits:
        return None
    total = 0.0
    covered = float("-inf")
    for begin_t, until in sorted(waits):
        last = min(until, end_t)
        total += max(0.0, last - max(begin_t, covered))
        covered = max(covered, last)
    return milliseconds(total)
