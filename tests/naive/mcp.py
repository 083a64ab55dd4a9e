"""Model Context Protocol: ``tools/call``, tasks, rounds of input, elicitations; and who is at either end, in every protocol."""

from __future__ import annotations

import re
from typing import Any

from tests.naive.calls import (
    SERVER_INFO,
    Call,
    Connection,
    begin,
    finish,
    finish_as_answered,
    is_busy,
    new_ask,
    new_call,
    settle,
)
from tests.naive.gist import fault, implementation, is_failed, said, trace_of
from tests.naive.reading import Key, Message, id_key, name, same_json

CLIENT_INFO = "io.modelcontextprotocol/clientInfo"
PROTOCOL_VERSION = "io.modelcontextprotocol/protocolVersion"
RELATED_TASK = "io.modelcontextprotocol/related-task"

# What a request of the client is about, for its answer.
About = dict[str, Any]


# Who is at either end


def greet(connection: Connection, message: Message, key: Key, t: float) -> About:
    """``initialize`` or ``server/discover``."""
    if message.get("method") == "initialize":
        connection.client = implementation(message.get("params", "clientInfo")) or connection.client
    return {"kind": "greeting", "answered": greeted}


def greeted(connection: Connection, about: About, message: Message, t: float) -> None:
    """The server says who it is: as MCP does, as ACP does (``agentInfo``), or as Codex does (``userAgent``)."""
    served = message.get("result", "serverInfo") or message.get("result", "_meta", SERVER_INFO)
    if implementation(served):
        connection.mcp_server_name = name(served["name"])
    agent = message.get("result", "userAgent")
    # "client/0.171.0 (Linux; x86_64) ...": the name is the client's own, the version is Codex's.
    codex = re.search(r"/([^\s/]+)(?: \(|$)", agent) if isinstance(agent, str) else None
    codex_server = name(f"codex/{codex[1]}") if codex else None
    server = implementation(served) or implementation(message.get("result", "agentInfo")) or codex_server
    connection.server = server or connection.server
    protocol = message.get("result", "protocolVersion")
    protocol = str(protocol) if isinstance(protocol, int) and not isinstance(protocol, bool) else protocol
    connection.protocol = name(protocol) or connection.protocol


# Calls


def call_tool(connection: Connection, message: Message, key: Key, t: float) -> About:
    """``tools/call``: a new call, or the next round of one."""
    if retried := next((call for call in connection.waiting if is_retry(call, message)), None):
        retry(connection, retried, message, t)
        return {"kind": "call", "call": retried, "answered": answered}
    params = message.get("params")
    meta = message.get("params", "_meta")
    meta = meta if isinstance(meta, dict) else {}
    arguments = message.get("params", "arguments")
    call = new_call(
        connection,
        t,
        key=key,
        kind="mcp",
        tool=name(message.get("params", "name")),
        data=message.exact_bytes("params", "arguments"),
        value=arguments,
        lossy=message.lossy,
        env_id=environment(arguments),
        context={
            "client": implementation(meta.get(CLIENT_INFO)),
            "protocol": name(meta.get(PROTOCOL_VERSION)),
            **trace_of(trace_beside(message), meta.get("traceparent")),
        },
        request_id=request_id(message, key),
        thread_id=thread_of(params, meta, "threadId"),
        user_id=name(meta.get("agentserver_user_id")),
    )
    begin(call)
    return {"kind": "call", "call": call, "answered": answered}


def environment(arguments: Any) -> str | None:
    return name(arguments.get("environment_id")) if isinstance(arguments, dict) else None


def request_id(message: Message, key: Key) -> str | None:
    if key == ("string", ""):
        return ""  # an id all the same
    return name(key[1] if key[0] == "string" else message.exact("id"))


def trace_beside(message: Message) -> Any:
    """What Codex's requests say of their trace, beside their parameters."""
    return message.get("trace", "traceparent")


def thread_of(params: Any, meta: Any, *spellings_in_meta: str) -> str | None:
    params, meta = (value if isinstance(value, dict) else {} for value in (params, meta))
    named = [params.get("threadId"), params.get("thread_id"), *map(meta.get, spellings_in_meta)]
    return next(filter(None, map(name, named)), None)


def cancel(connection: Connection, message: Message, t: float) -> None:
    """The client takes a request back: ``notifications/cancelled``."""
    key = id_key(message.get("params", "requestId"))
    reason = message.get("params", "reason")
    for request in [request for request in connection.requests if key is not None and request["key"] == key]:
        connection.requests.remove(request)
        if request["kind"] == "call":
            finish(request["call"], t, outcome="cancelled", text=reason if isinstance(reason, str) else None, lossy=message.lossy)
            return


def answered(connection: Connection, about: About, message: Message, t: float) -> None:
    """The answer to a ``tools/call`` or to a direct call of Codex: the end, a task, or a round of input."""
    call: Call = about["call"]
    if call["kind"] == "mcp" and fault(message, "error") is None:
        place: tuple[str, ...] = ("result", "task")
        if message.get("result", "resultType") == "task":
            place = ("result",)
        if name(message.get(*place, "taskId")):
            wait_for_task(call, message, t, *place)
            return
        asks = message.get("result", "resultType") == "input_required" and not is_failed(message.get("result"))
        if asks and wait_for_input(call, message, t):
            return
    finish_as_answered(call, message, t)


def wait_off_the_connection(call: Call, **wait: Any) -> None:
    call["on"].open[:] = [other for other in call["on"].open if other is not call]
    call["wait"] = wait
    call["on"].waiting.append(call)


# Rounds of input


def wait_for_input(call: Call, message: Message, t: float) -> bool:
    """Let a call wait for its next round; false where the answer has nothing that a retry could be known by."""
    requests = message.get("result", "inputRequests")
    requests = requests if isinstance(requests, dict) else {}
    state = message.get("result", "requestState")
    if not requests and state is None:
        return False
    text, types = said(message, "result")
    ending = {"t": t, "text": text, "lossy": message.lossy, "result_meta": message.get("result", "_meta"), "content_types": types}
    ask_for_input(call, requests, t, "round")
    wait_off_the_connection(call, on="input", state=state, keys=list(requests), ending=ending)
    return True


def ask_for_input(call: Call, requests: dict[str, Any], t: float, kind: str) -> None:
    """Note the elicitations among the requests for input.  A task repeats a request under its name until it is answered."""
    known = [ask["name"] for ask in call["asks"] if ask["kind"] == kind == "task"]
    for named, request in requests.items():
        if isinstance(request, dict) and request.get("method") == "elicitation/create" and named not in known:
            params = request.get("params")
            reason = params.get("reason") if isinstance(params, dict) else None
            call["asks"].append(new_ask(kind, t, name=named, reason=reason))


def is_retry(call: Call, message: Message) -> bool:
    """Whether a ``tools/call`` is the next round of a call that waits for one."""
    wait = call["wait"]
    if wait["on"] != "input":
        return False
    responses = message.get("params", "inputResponses")
    return (
        call["record"]["tool"] == (name(message.get("params", "name")) or "unknown")
        and same_json(call["value"], message.get("params", "arguments"))
        and same_json(wait["state"], message.get("params", "requestState"))
        and (not wait["keys"] or (isinstance(responses, dict) and any(key in responses for key in wait["keys"])))
    )


def retry(connection: Connection, call: Call, message: Message, t: float) -> None:
    call["rounds"] += 1
    answer_input(call, message.get("params", "inputResponses"), t, "round")
    connection.waiting[:] = [other for other in connection.waiting if other is not call]
    call |= {"key": id_key(message.get("id")), "on": connection}
    begin(call)


def answer_input(call: Call, responses: Any, t: float, kind: str) -> None:
    """Settle the elicitations that the client sends responses to.  Those of a round can no longer be answered after its retry."""
    responses = responses if isinstance(responses, dict) else {}
    for ask in [ask for ask in call["asks"] if ask["kind"] == kind and ask["settled_t"] is None]:
        if ask["name"] in responses:
            response = responses[ask["name"]]
            action = response.get("action") if isinstance(response, dict) else None
            settle(ask, t, by="client", decision=action if isinstance(action, str) else None)
        elif kind == "round":
            settle(ask, t)


# Tasks


def wait_for_task(call: Call, message: Message, t: float, *place: str) -> None:
    """Let a call go on under the id of the task that its answer hands out.  The answer is the first that tells its status."""
    call["meta"]["task_id"] = name(message.get(*place, "taskId"))
    call["env_id"] = call["env_id"] or name(message.get("result", "_meta", SERVER_INFO, "name"))
    wait_off_the_connection(call, on="task", status=None, message=None, lossy=False, first_seen={}, asked_for=set())
    note_status(call, message, t, *place)


def task_called(connection: Connection, message: Message) -> Call | None:
    """The call whose task a request or notification names."""
    named = name(message.get("params", "taskId"))
    return next((call for call in connection.waiting if named and call["meta"].get("task_id") == named), None)


def ask_about_task(connection: Connection, message: Message, key: Key, t: float) -> About:
    """``tasks/get``, ``tasks/result``, ``tasks/cancel``, ``tasks/update``."""
    call = task_called(connection, message)
    if call and message.get("method") == "tasks/update":
        answer_input(call, message.get("params", "inputResponses"), t, "task")
    return {"kind": "task", "method": message.get("method"), "call": call, "answered": task_answered}


def is_over(call: Call) -> bool:
    """Whether a task is known to have ended.  It waits for nobody any more, but for the client to fetch its result."""
    return call["wait"]["status"] in ("completed", "failed")


def note_status(call: Call, message: Message, t: float, *place: str, told: bool = False) -> None:
    """A task's status, from an answer or a notification: remember it, or end the call where it is an end."""
    wait = call["wait"]
    status = message.get(*place, "status")
    is_late = is_over(call) and status not in ("completed", "failed", "cancelled")
    if not is_over(call) and status in ("completed", "failed"):
        for ask in call["asks"]:
            settle(ask, t)
    if isinstance(status, str) and not is_late:  # a task that is over does not work again
        wait["status"], wait["message"], wait["lossy"] = status, message.get(*place, "statusMessage"), message.lossy
        # What the client asked for counts more than what it was told.
        if status not in wait["first_seen"] or (not told and status not in wait["asked_for"]):
            wait["first_seen"][status] = t
        if not told:
            wait["asked_for"].add(status)
    if message.get(*place, "result") is not None or (status == "failed" and fault(message, *place, "error")):
        finish_as_answered(call, message, t, *place)
    elif status == "cancelled":
        finish_with_status(call, t, "cancelled")


def finish_with_status(call: Call, t: float, outcome: str | None, **end: Any) -> None:
    text, lossy = call["wait"]["message"], call["wait"]["lossy"]
    said = {"text": text, "lossy": lossy} if outcome in ("failed", "cancelled") and isinstance(text, str) else {}
    finish(call, t, outcome=outcome, **said, **end)


def task_answered(connection: Connection, about: About, message: Message, t: float) -> None:
    call = about["call"]
    if call is None or not any(call is other for other in connection.waiting):  # no task of ours, or it has ended
        return
    failed = fault(message, "error") is not None
    if about["method"] == "tasks/result":
        result = message.get("result")
        members = ("content", "structuredContent", "toolResult")
        if failed or isinstance(result, str) or any(message.get("result", member) is not None for member in members):
            finish_as_answered(call, message, t)
        else:
            last = call["wait"]["status"]
            outcome = last if last in ("failed", "cancelled") else None
            finish_with_status(call, t, outcome, result_meta=message.get("result", "_meta"))
    elif failed:
        return
    elif about["method"] == "tasks/cancel" and message.get("result", "status") in (None, "cancelled"):
        call["wait"] |= {"message": message.get("result", "statusMessage"), "lossy": message.lossy}
        finish_with_status(call, t, "cancelled", result_meta=message.get("result", "_meta"))
    elif about["method"] in ("tasks/get", "tasks/cancel"):
        if about["method"] == "tasks/get":
            show_input(call, message, t, "result")
        note_status(call, message, t, "result")


def task_notified(connection: Connection, message: Message, t: float) -> None:
    """``notifications/tasks/status`` (2025-11-25) and ``notifications/tasks`` (2026-07-28)."""
    if call := task_called(connection, message):
        show_input(call, message, t, "params")
        note_status(call, message, t, "params", told=True)


def show_input(call: Call, message: Message, t: float, place: str) -> None:
    requests = message.get(place, "inputRequests")
    if isinstance(requests, dict) and not is_over(call):
        ask_for_input(call, requests, t, "task")


def fall_out(call: Call, t: float) -> None:
    """A call that nobody will come back for leaves the table."""
    wait = call["wait"]
    if wait["on"] == "input":
        ending = wait["ending"]
        finish(call, ending.pop("t"), outcome="input_required", **ending)
    elif wait["status"] == "completed":
        finish(call, wait["first_seen"]["completed"], outcome="unfetched")
    elif wait["status"] == "failed":
        finish_with_status(call, wait["first_seen"]["failed"], "failed")
    else:
        finish(call, t, outcome="unanswered")


# The server asks the client


def ask_client(connection: Connection, message: Message, t: float) -> dict[str, Any] | None:
    """``elicitation/create`` and ``sampling/createMessage``: about the task they name, else about a call that can have asked.

    ACP's ``elicitation/create`` has a session, and is about the agent's call that it names, if any.
    """
    related = message.get("params", "_meta", RELATED_TASK, "taskId")
    calls = [call for call in connection.waiting if related and call["meta"].get("task_id") == related]
    told = connection.open if connection.asking is None else connection.asking
    calls += [
        call for call in connection.open if call["kind"] == "mcp" and not is_busy(call) and any(call is one for one in told)
    ]
    if isinstance(message.get("params", "sessionId"), str):
        named = (name(message.get("params", "sessionId")), name(message.get("params", "toolCallId")))
        calls = [call for call in connection.open if call["key"] == ("acp", *named)]
    if not calls or (calls[0].get("wait") and calls[0]["wait"]["on"] == "task" and is_over(calls[0])):
        return None
    person = message.get("method") == "elicitation/create"
    ask = new_ask("request", t, approval=person, wait=person, reason=message.get("params", "reason"))
    calls[0]["asks"].append(ask)
    return {"ask": ask, "judge": judge_elicitation}


def judge_elicitation(params: Any, answer: Message) -> dict[str, Any]:
    """What the client's answer to an elicitation decides.  It can refuse a call when Codex asks, not when an MCP server does."""
    action = answer.get("result", "action")
    if not isinstance(action, str):
        return {}
    meta = params.get("_meta") if isinstance(params, dict) else None
    if not isinstance(meta, dict) or "codex_approval_kind" not in meta:
        return {"decision": action}
    persist = answer.get("result", "_meta", "persist")
    said_for = f" persist={persist}" if isinstance(persist, str) else ""
    return {"decision": action + said_for, "refuses": action in ("decline", "cancel")}


REQUESTS = {
    "initialize": greet,
    "server/discover": greet,
    "tools/call": call_tool,
    **dict.fromkeys(("tasks/get", "tasks/result", "tasks/cancel", "tasks/update"), ask_about_task),
}
NOTIFICATIONS_OF_CLIENT = {"notifications/cancelled": cancel}
REQUESTS_OF_SERVER = {"elicitation/create": ask_client, "sampling/createMessage": ask_client}
NOTIFICATIONS = {"notifications/tasks/status": task_notified, "notifications/tasks": task_notified}
